package plugintest

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// PatienceVariable names the environment variable that multiplies the kit's deadlines, for a machine that is busy with other things: there
// the time that an answer takes says little about the plugin. Its value is a whole number from 1 to 100.
const PatienceVariable = "LMQGATE_PLUGINTEST_PATIENCE"

// patience multiplies the bounds on a plugin that works.
type patience int

func (p patience) times(d time.Duration) time.Duration { return d * time.Duration(max(1, p)) }

func patienceOfEnvironment() (patience, error) {
	text := os.Getenv(PatienceVariable)
	if text == "" {
		return 1, nil
	}
	const most = 100
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%s is %q; it must be a whole number from 1 to %d", PatienceVariable, text, most)
	}
	return patience(n), nil
}
