package exposed

import "fmt"

// PrivateKey returns an error, with the remedy, if every user of the machine may read the file of a private key. The error does not say for
// what the key is. See ToOthers.
func PrivateKey(path string) error {
	if ToOthers(path) {
		return fmt.Errorf("every user of this machine may read the private key; run: chmod o-rwx %s", path)
	}
	return nil
}
