package auth

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/internal/leftover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }
