package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Options configure Run.
type Options struct {
	// Only selects the cases to run, matched against GROUP/NAME; nil for all. The cases that start the plugin always run.
	Only *regexp.Regexp
	// Progress receives the report as text while the cases run; nil for none.
	Progress io.Writer
	// StartTimeout is how long a process may take until its handshake line; 0 means a minute, the default of plugins.start_timeout.
	StartTimeout time.Duration
	// Patience multiplies the other deadlines; 0 means what PatienceVariable says, or 1.
	Patience int
}

// Run runs every case that applies to the plugin's kind. An error means that the cases could not be run; faults of the plugin are
// in the report. When ctx ends, Run cancels the current case, skips the rest, and returns the error of ctx.
func Run(ctx context.Context, target Target, profile Profile, opts Options) (_ *Report, err error) {
	s, err := newSuite(target, profile)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := s.close(); err == nil {
			err = closeErr
		}
	}()
	if opts.StartTimeout > 0 {
		s.startTimeout = opts.StartTimeout
	}
	if opts.Patience > 0 {
		s.patience = patience(opts.Patience)
	}
	report := &Report{Path: target.path}
	words := &writer{out: opts.Progress}
	run := func(cases []check) {
		for _, c := range cases {
			if ctx.Err() != nil {
				return
			}
			if opts.Only != nil && !c.basic() && !opts.Only.MatchString(c.id()) {
				continue
			}
			res := s.run(ctx, c)
			report.Results = append(report.Results, res)
			words.result(res)
		}
	}
	run(startCases())
	report.Started = s.shook
	s.introduce(report)
	words.notes(report)
	run(s.kindCases())
	words.end(report)
	return report, errors.Join(ctx.Err(), words.err)
}

// introduce adds what the plugin says of itself to the report.
func (s *suite) introduce(report *Report) {
	d := s.describe
	if d == nil {
		return
	}
	report.Name, report.Version, report.Kind = d.GetName(), d.GetVersion(), kindName(d.GetKind())
	if s.main != nil {
		report.Contract, report.Secure = s.main.shaken.version, s.main.shaken.tls != nil
	}
	if base := filepath.Base(s.target.path); !s.target.inProcess() && base != d.GetName() {
		report.Notes = append(report.Notes, fmt.Sprintf(
			"the gateway starts plugins.dir/%s for `plugin: %s`; install %s under that name", d.GetName(), d.GetName(), base))
	}
	if s.profile.Dir == "" && s.profile.Config == nil {
		report.Notes = append(report.Notes, "there is no profile; the configuration is empty, and there are no sample requests")
	}
}

func kindName(k pluginv1.Kind) string {
	switch k {
	case pluginv1.Kind_KIND_AUTH:
		return "auth"
	case pluginv1.Kind_KIND_META:
		return "meta"
	}
	return "unknown"
}

// kindCases returns the cases of the plugin's kind, then the cases that inspect the whole run.
func (s *suite) kindCases() []check {
	var cases []check
	switch s.describe.GetKind() {
	case pluginv1.Kind_KIND_AUTH:
		cases = authCases()
	case pluginv1.Kind_KIND_META:
		cases = metaCases()
	}
	return append(cases, lastCases()...)
}

// id returns the name of a case in Options.Only and in reports.
func (c check) id() string { return c.group + "/" + c.name }

// basic reports whether other cases build on this one.
func (c check) basic() bool { return c.group == groupStart }
