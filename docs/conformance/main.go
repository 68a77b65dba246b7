// Command conformance writes docs/conformance.md: the numbered statements of MQTT 3.1.1 and 5.0, and the tests that prove them.
//
// The statements are in mqtt-3.1.1.txt and mqtt-5.0.txt, those that no test proves in exceptions.txt, and the words around the
// tables in page.md and suites.md. A test says what it proves in its doc comment, a line for each text:
//
//	// Proves 3.1.1: [MQTT-3.1.2-24] [MQTT-3.12.4-1]
//	// Proves 5.0: [MQTT-3.1.2-22] [MQTT-3.12.4-1]
//
// The two texts use the same numbers for different statements, so a line without its text is an error. The packets of
// core/packet/packettest name the statements that they break, and count for the test that sends them to a listener.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// run writes the page of the repository that root is the top of.
func run(root string) error {
	page, err := build(root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "docs", "conformance.md"), page, 0o644) //nolint:gosec // a page to read
}

// build makes the page.
func build(root string) ([]byte, error) {
	dir := filepath.Join(root, "docs", "conformance")
	texts, err := loadTexts(dir)
	if err != nil {
		return nil, err
	}
	if err := scan(root, texts); err != nil {
		return nil, err
	}
	return render(dir, texts)
}
