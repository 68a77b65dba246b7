package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheBillListsEachModuleOfTheBinariesOnce(t *testing.T) {
	library := &debug.Module{Path: "example.com/Library", Version: "v1.0.0+incompatible"}
	forked := &debug.Module{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1"}}
	gateway := &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{library, forked}}
	plugin := &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{library}}
	b := bill("1.2.3", time.Unix(0, 0), []*debug.BuildInfo{gateway, plugin})
	require.Equal(t, []string{"CycloneDX", "1.5", "lmqgate", "1.2.3"}, []string{b.Format, b.Spec, b.Metadata.Component.Name, b.Metadata.Component.Version})
	var urls []string
	for _, c := range b.Components {
		urls = append(urls, c.PURL)
	}
	require.Equal(t, []string{"pkg:golang/example.com/fork@v1.0.1", "pkg:golang/example.com/library@v1.0.0%2Bincompatible",
		"pkg:golang/stdlib@1.26.8"}, urls)
	require.Equal(t, urls, b.Dependencies[0].DependsOn)
}

func TestTheSameBinariesMakeTheSameBill(t *testing.T) {
	self, err := os.Executable() // this test
	require.NoError(t, err)
	var one, two bytes.Buffer
	require.NoError(t, write(&one, "1.2.3", time.Unix(0, 0), []string{self, self}))
	require.NoError(t, write(&two, "1.2.3", time.Unix(0, 0), []string{self}))
	require.Equal(t, one.String(), two.String())
	require.True(t, json.Valid(one.Bytes()))
}

func TestAFileThatIsNoBinaryOfGoIsNamed(t *testing.T) {
	require.ErrorContains(t, write(&bytes.Buffer{}, "1", time.Unix(0, 0), []string{"sbom_test.go"}), "sbom_test.go")
}
