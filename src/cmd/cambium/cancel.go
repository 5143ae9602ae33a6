package main

import (
	"context"
	"io"
)

// cancelWriter fails once its context has ended: so whatever writes step by step stops at Ctrl-C.
type cancelWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c *cancelWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
