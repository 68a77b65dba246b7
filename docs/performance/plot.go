package performance

import (
	"fmt"
	"html"
	"strings"
)

// panel is a bar chart of one figure.
type panel struct {
	title string
	bars  []bar
}

// bar is one broker's bar. Its length is its part of the panel's longest bar.
type bar struct {
	label, text string
	value       float64
	own         bool // lmqgate's, which is coloured
}

// Sizes of a plot in pixels.
const (
	plotWidth  = 720
	labelRight = 170 // where labels end and bars begin
	longest    = 440 // of a bar
	barHeight  = 16
	barStep    = 22
	titleStep  = 34
	margin     = 14
)

// drawPlot writes panels, one below the other, as SVG. The background is white, so that it can be read on dark pages too.
func drawPlot(panels []panel) string {
	height := 2 * margin
	for _, p := range panels {
		height += titleStep + barStep*len(p.bars)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" `+
		`font-family="system-ui, sans-serif" font-size="12">`+"\n", plotWidth, height)
	b.WriteString(`<rect width="100%" height="100%" fill="#ffffff"/>` + "\n")
	y := margin
	for _, p := range panels {
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="13" font-weight="600" fill="#111827">%s</text>`+"\n", margin, y+17, html.EscapeString(p.title))
		y += titleStep - 6
		top := 0.0
		for _, one := range p.bars {
			top = max(top, one.value)
		}
		for _, one := range p.bars {
			length := 1.0
			if top > 0 {
				length = max(1, one.value/top*longest)
			}
			colour := "#9ca3af"
			if one.own {
				colour = "#2563eb"
			}
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#374151">%s</text>`, labelRight-8, y+12, html.EscapeString(one.label))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`, labelRight, y, length, barHeight, colour)
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#111827">%s</text>`+"\n", labelRight+length+6, y+12, html.EscapeString(one.text))
			y += barStep
		}
		y += 6
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// panelsOf returns what the plot of a name shows; nothing if none of it was measured.
func panelsOf(r *Results, name string) []panel {
	var out []panel
	for _, k := range Kinds() {
		c := r.find(k.Name)
		if k.plot != name || c == nil {
			continue
		}
		for _, f := range k.figures {
			p := panel{title: k.Name + ": " + k.Title}
			if f.name != "" {
				p.title += ", " + f.name
			}
			for _, column := range columns {
				if b := c.broker(column); b != nil {
					v := b.median(f.of)
					p.bars = append(p.bars, bar{label: plain(column), text: f.write(v), value: v, own: strings.HasPrefix(column, OnLocal)})
				}
			}
			out = append(out, p)
		}
	}
	if name != "rocketmq" {
		return out
	}
	for i := range r.Cases {
		c := &r.Cases[i]
		bare, own := c.broker(BareProducer), c.broker(OnRocketMQ)
		if bare == nil || own == nil {
			continue
		}
		out = append(out, panel{title: strings.TrimPrefix(c.Name, RocketMQCase), bars: []bar{
			{label: BareProducer, text: perSecond(bare.median(acked)), value: bare.median(acked)},
			{label: OnRocketMQ, text: perSecond(own.median(acked)), value: own.median(acked), own: true},
		}})
	}
	return out
}
