package plugintest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/lmqgate/lmqgate/plugins/sdk/plugintest"
)

// The test of a plugin: it builds the program in this directory and runs every conformance case on it, each as a subtest.
func ExampleRunAuth() {
	var t *testing.T // the test function's parameter
	profile, err := plugintest.LoadProfile("plugintest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plugintest.RunAuth(t, plugintest.Build(t, "."), profile)
}

// A profile has the plugin's configuration, and for auth plugins requests that it allows and denies. Further arguments override keys.
func ExampleParseProfile() {
	profile, err := plugintest.ParseProfile([]byte("config: {namesrv: [first:9876]}"), "config.namesrv=[second:9876]")
	fmt.Println(profile.Config["namesrv"], err)
	_, err = plugintest.ParseProfile([]byte("configuration: {}"))
	fmt.Println(err != nil)
	// Output:
	// [second:9876] <nil>
	// true
}

// Run does not need package testing. Each result has the request, the answer, and the rule that the answer breaks.
func ExampleRun() {
	report, err := plugintest.Run(context.Background(), plugintest.Executable("./no-such-plugin"), plugintest.Profile{}, plugintest.Options{})
	fmt.Println(report == nil, err != nil)
	// Output: true true
}
