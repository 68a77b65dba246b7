package config

import "strings"

// nearest returns the known key that an unknown one most likely meant. Keys of
// the same section win over others, unless another section has exactly that
// key (an option written one level too high or too low).
func nearest(key string, known []string) string {
	section, name := splitLast(key)
	best, bestCost := "", int(^uint(0)>>1)
	for _, k := range known {
		s, n := splitLast(k)
		cost := 4 * distance(name, n)
		if s != section {
			cost += 2 + distance(section, s)
		}
		if cost < bestCost {
			best, bestCost = k, cost
		}
	}
	return best
}

func splitLast(key string) (section, name string) {
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		return key[:i], key[i+1:]
	}
	return "", key
}

// distance is Levenshtein's: the least number of letters to insert, delete or
// replace to make one word of the other. Words are cut to 64 letters, so a
// hostile key costs no time.
func distance(a, b string) int {
	const most = 64
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
