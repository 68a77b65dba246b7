package plugintest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/internal/leftover"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The runs mostly wait for plugins that hang.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(leftover.Patient(m), goleak.Cleanup(func(code int) {
		if broken.path != "" {
			_ = os.RemoveAll(filepath.Dir(broken.path))
		}
		os.Exit(code)
	}))
}
