// Package spelling finds the word that a mistyped one probably means, for suggestions in error messages.
package spelling

import "strings"

// most bounds the compared letters, so that a hostile word costs little time.
const most = 64

// Distance returns the Levenshtein distance: the least number of letters to insert, delete or replace to turn one word into the other.
// Words are cut to 64 letters.
func Distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	x, y = x[:min(len(x), most)], y[:min(len(y), most)]
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, q := range y {
			cost := diagonal
			if r != q {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(y)]
}

// Resembles reports whether one word may be a mistyped or shortened form of the other: at most a third of the longer word differs (half of
// it if they begin alike), or one of them, of three letters or more, begins the other.
func Resembles(a, b string) bool {
	longer := min(max(len([]rune(a)), len([]rune(b))), most)
	if min(len(a), len(b)) >= 3 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
		return true
	}
	parts := 3
	if a != "" && b != "" && a[0] == b[0] {
		parts = 2
	}
	return parts*Distance(a, b) <= longer
}

// Nearest returns the word that resembles a mistyped one most, or "" if none does.
func Nearest(word string, words []string) string {
	best, least := "", most+1
	for _, w := range words {
		if d := Distance(word, w); d < least && Resembles(word, w) {
			best, least = w, d
		}
	}
	return best
}
