// Package docs holds the pages for users and plugin authors, and tests that keep them and README.md in step with the code:
// metrics, log lines, links, names of tests, and code that is shown. It has no code of its own.
package docs
