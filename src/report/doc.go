// Package report draws what a run did: report.html, one self-contained page without network, and the same plots as PNG
// beside it. It reads metrics.jsonl and config.resolved.yaml and knows nothing else of the run, so that an unfinished run,
// or one of another machine, has a report too.
//
// gonum/plot draws every plot once as SVG, whose colours then follow the page's light or dark theme, and once as PNG. A few
// lines of script show the numbers under the pointer; without script the page lacks nothing else.
package report
