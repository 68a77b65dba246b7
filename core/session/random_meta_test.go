package session

import "testing"

// TestEverythingArrivesOnceAndInOrderWhateverHappensToTheMetadata is TestEverythingArrivesOnceAndInOrderWhateverHappens with nodes whose
// metadata also hangs or fails for a while.
func TestEverythingArrivesOnceAndInOrderWhateverHappensToTheMetadata(t *testing.T) {
	inChaos(t, chaosFaults{metadata: true}, (*chaos).run)
}
