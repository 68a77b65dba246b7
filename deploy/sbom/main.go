// Command sbom lists what binaries are made of, as Go has recorded it in each, in CycloneDX's JSON (version 1.5). The same binaries make
// the same bytes.
//
//	sbom -version VERSION -epoch SECONDS BINARY... > lmqgate.cdx.json
package main

import (
	"cmp"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

func main() {
	version := flag.String("version", "", "version of the release")
	epoch := flag.Int64("epoch", 0, "time of the release, in seconds since 1970")
	flag.Parse()
	if err := write(os.Stdout, *version, time.Unix(*epoch, 0), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	PURL    string `json:"purl,omitempty"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// purl names a module as https://github.com/package-url/purl-spec says.
func purl(path, version string) string {
	return "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// write lists the modules of binaries.
func write(w io.Writer, version string, at time.Time, binaries []string) error {
	if version == "" || len(binaries) == 0 {
		return errors.New("-version and at least one BINARY are wanted")
	}
	infos := make([]*debug.BuildInfo, len(binaries))
	for i, path := range binaries {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		infos[i] = info
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(bill(version, at, infos))
}

// bill lists the modules that builds have recorded, each once.
func bill(version string, at time.Time, infos []*debug.BuildInfo) bom {
	root := "pkg:generic/lmqgate@" + version
	out := bom{Format: "CycloneDX", Spec: "1.5", Version: 1, Metadata: metadata{Timestamp: at.UTC().Format(time.RFC3339),
		Component: component{Type: "application", Ref: root, Name: "lmqgate", Version: version, PURL: root}}}
	modules := make(map[string]component)
	for _, info := range infos {
		std := component{Type: "library", Name: "stdlib", Version: info.GoVersion,
			PURL: purl("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
		std.Ref = std.PURL
		modules[std.Ref] = std
		for _, m := range info.Deps {
			c := moduleOf(m)
			modules[c.Ref] = c
		}
	}
	out.Components = slices.SortedFunc(maps.Values(modules), func(a, b component) int { return cmp.Compare(a.Ref, b.Ref) })
	all := dependency{Ref: root}
	for _, c := range out.Components {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	out.Dependencies = []dependency{all}
	return out
}

// moduleOf describes a module, or what replaces it.
func moduleOf(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: purl(m.Path, m.Version)}
	c.Ref = c.PURL
	return c
}
