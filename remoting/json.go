package remoting

// standardJSON quotes object keys that are bare integers. Java servers write maps with number keys in this form ({0:"10.0.0.1:10911"}); the
// rest of their JSON is standard. Input without such keys is returned unchanged.
func standardJSON(in []byte) []byte {
	var out []byte // nil until the first change
	last := 0      // in[:last] is in out
	for i := 0; i < len(in); i++ {
		switch in[i] {
		case '"':
			for i++; i < len(in) && in[i] != '"'; i++ {
				if in[i] == '\\' {
					i++
				}
			}
		case '{', ',':
			from := i + 1
			for from < len(in) && isSpace(in[from]) {
				from++
			}
			to := from
			for to < len(in) && (in[to] == '-' || in[to] >= '0' && in[to] <= '9') {
				to++
			}
			end := to
			for end < len(in) && isSpace(in[end]) {
				end++
			}
			if to == from || end >= len(in) || in[end] != ':' {
				continue
			}
			out = append(out, in[last:from]...)
			out = append(out, '"')
			out = append(out, in[from:to]...)
			out = append(out, '"')
			last = to
			i = end
		}
	}
	if out == nil {
		return in
	}
	if last < len(in) {
		out = append(out, in[last:]...)
	}
	return out
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }
