// Command brokenplugins is a set of plugins that break the plugin contract, each in one way, and two that keep it. The name of the
// executable selects the plugin: copy or link it under one of the names below. Tests require that `lmqgate plugin test` detects each of
// them.
//
// Names that begin with "auth-" and "meta-" are plugins of that kind with a single fault; see auth.go and meta.go. Names that begin with
// "start-" break their start or their end; see start.go.
package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// fault is the name of the plugin, which names its fault.
var fault = filepath.Base(os.Args[0])

// huge is a text that no gateway accepts. It is created before the start, so that an answer with it is in time.
var huge = func() string {
	if !strings.Contains(fault, "huge-answer") {
		return ""
	}
	return strings.Repeat("x", 100<<20)
}()

func main() {
	switch {
	case strings.HasPrefix(fault, "start-"):
		start()
	case strings.HasPrefix(fault, "meta-"):
		sdk.ServeMeta(newMemory())
	case is("auth-ends-revocations"):
		sdk.ServeAuth(revoking{&auth{}})
	default:
		sdk.ServeAuth(&auth{})
	}
}

// is reports whether this plugin has a fault.
func is(name string) bool { return fault == name }
