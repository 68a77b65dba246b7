// Package performance keeps the figures that "make bench" measures, and writes them into docs/performance.md: tables, and plots beside this
// file.
//
// results.json has every round of every case. A run replaces the cases that it measured and leaves the others, so a long bench can be run
// in pieces. The page has the medians, and the medians of the ratios to the case's base: rounds are played in turns, because on a machine
// whose speed drifts only ratios from one round mean something. The package measures nothing itself; test/bench does.
package performance
