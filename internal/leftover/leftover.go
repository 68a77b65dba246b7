// Package leftover finds goroutines that tests leave behind. goleak alone waits less than half a second for them to end, which is too short
// on a busy machine.
package leftover

import (
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end.
const patience = time.Minute

// Find returns an error that lists the goroutines that do not end. The options are those of goleak.Find.
func Find(options ...goleak.Option) error {
	for deadline := time.Now().Add(patience); ; {
		err := goleak.Find(options...)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// Patient returns a TestingM for goleak.VerifyTestMain. After its tests have passed, it waits for their goroutines to end. The options are
// those of goleak.Find.
func Patient(m goleak.TestingM, options ...goleak.Option) goleak.TestingM { return patient{m, options} }

type patient struct {
	goleak.TestingM
	options []goleak.Option
}

// Run implements goleak.TestingM.
func (p patient) Run() int {
	code := p.TestingM.Run()
	if code == 0 {
		_ = Find(p.options...) // goleak reports what is left
	}
	return code
}
