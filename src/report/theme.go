package report

import (
	"fmt"
	"image/color"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ink is a colour that a plot is drawn in: that of the light theme, and the variable of the page's style sheet that takes its
// place in the SVG, so that the plot follows the theme. No two inks are alike.
type ink struct {
	variable string
	light    color.NRGBA
	dark     string
}

func rgb(hex uint32) color.NRGBA {
	return color.NRGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 255}
}

func (k ink) hex() string { return fmt.Sprintf("#%02X%02X%02X", k.light.R, k.light.G, k.light.B) }

// faint is the ink with less of it.
func (k ink) faint(part float64) color.NRGBA {
	c := k.light
	c.A = uint8(part * 255)
	return c
}

func paper() ink  { return ink{"--card", rgb(0xfffefc), "#1d211f"} }
func strong() ink { return ink{"--text", rgb(0x202623), "#e9ece9"} }
func muted() ink  { return ink{"--muted", rgb(0x69736e), "#98a39d"} }
func grid() ink   { return ink{"--grid", rgb(0xe7e9e4), "#2e3431"} }
func axis() ink   { return ink{"--axis", rgb(0xc3c9c4), "#4a524e"} }

// stageInk is the colour of a growth stage, or of an arm of a comparison; after the last they begin again.
func stageInk(i int) ink {
	all := stageInks()
	return all[i%len(all)]
}

func stageInks() []ink {
	return []ink{
		{"--c0", rgb(0xd07a1d), "#f0a044"}, {"--c1", rgb(0x0f8f78), "#35c9ab"}, {"--c2", rgb(0x6a51c4), "#a592f5"},
		{"--c3", rgb(0x2272c9), "#62a8f2"}, {"--c4", rgb(0xc23a5e), "#f27f9c"}, {"--c5", rgb(0x6f8a12), "#b3cf4a"},
	}
}

func inks() []ink {
	return append([]ink{paper(), strong(), muted(), grid(), axis()}, stageInks()...)
}

// themed replaces every colour in an SVG by the variable of the nearest ink. They are not quite the inks' own: what is
// drawn half transparent has gone through 8-bit premultiplied values.
func themed(svg string) string {
	all := inks()
	return regexp.MustCompile(`#[0-9A-F]{6}`).ReplaceAllStringFunc(svg, func(hex string) string {
		n, err := strconv.ParseUint(hex[1:], 16, 32)
		if err != nil {
			return hex
		}
		c := rgb(uint32(n))
		nearest := slices.MinFunc(all, func(a, b ink) int { return a.distance(c) - b.distance(c) })
		return "var(" + nearest.variable + ")"
	})
}

func (k ink) distance(c color.NRGBA) int {
	square := func(a, b uint8) int { return (int(a) - int(b)) * (int(a) - int(b)) }
	return square(k.light.R, c.R) + square(k.light.G, c.G) + square(k.light.B, c.B)
}

// variables declares the inks for the style sheet, of the light or the dark theme.
func variables(dark bool) string {
	var b strings.Builder
	for _, k := range inks() {
		value := k.hex()
		if dark {
			value = k.dark
		}
		fmt.Fprintf(&b, "%s:%s;", k.variable, value)
	}
	return b.String()
}
