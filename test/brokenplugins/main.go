// Command brokenplugins is a set of plugins that break the plugin contract, each in one way, and two that keep it. Which one
// it is, its file's name says: copied or linked under one of the names below it is that plugin. Tests hold `lmqgate plugin
// test` to finding each of them out.
//
// Names that begin with "auth-" and "meta-" are plugins of that kind which do all but one thing right; see auth.go and
// meta.go. Names that begin with "start-" break their start or their end; see start.go.
package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// fault is the name of the plugin, and so what is wrong with it.
var fault = filepath.Base(os.Args[0])

// huge is a text that no gateway takes; made before the start, so that an answer with it comes in time.
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

// is says whether a fault is this plugin's.
func is(name string) bool { return fault == name }
