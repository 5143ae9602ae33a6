package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"cambium/src/backend"
	"cambium/src/backend/cpu"
	"cambium/src/backend/cuda"
	"cambium/src/bench"
	"cambium/src/config"
	"cambium/src/report"
	"cambium/src/tensor"
	"cambium/src/train"
)

func benchKernelsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "kernels", Short: "Time every operation of a backend beside the device's own roofs",
		Long: `Times every operation of a backend on a model's shapes: single launches with cold caches, and batches back to back. Rates are
compared with a large copy's bandwidth and with the peak of arithmetic (on the processor a loop of fused multiply-adds, on a
GPU a large GEMM), both measured just before. Times are the host's and hold one wait.`,
		Example: `  cambium bench kernels --shape gpt2-124m
  cambium-cuda bench kernels --backend cuda --dtype bf16 --shape llama-1b --json
  cambium bench kernels --shape tiny --output-dir runs/kernels        the table and the roofline as files`,
	}
	where := c.Flags().String("backend", config.BackendCPU, "cpu or cuda")
	shape := c.Flags().String("shape", "gpt2-124m", "gpt2-124m, gpt2-1.5b, llama-1b or tiny")
	dtype := c.Flags().String("dtype", "fp32", "element type: fp32, bf16 or fp16")
	rows := c.Flags().Int("tokens", 0, "tokens of the micro-batch, whole sequences; 0: the shape's")
	threads := c.Flags().Int("threads", 0, "worker threads of the cpu backend; 0: all cores")
	o := bench.KernelOptions{}
	c.Flags().IntVar(&o.Samples, "samples", 10, "times of each kind")
	c.Flags().DurationVar(&o.Spend, "batch", 20*time.Millisecond, "how long a batch takes")
	asJSON := c.Flags().Bool("json", false, "as one JSON object")
	dir := c.Flags().String("output-dir", "", "`folder` for kernels.md, kernels.json, roofline.png and roofline.svg")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if o.Samples < 1 || o.Spend < 0 || *threads < 0 {
			return usageError{fmt.Errorf("bench kernels: --samples %d, --batch %v, --threads %d: want at least 1, 0 and 0", o.Samples, o.Spend, *threads)}
		}
		if o.Shape, err = bench.KernelShapeNamed(*shape); err != nil {
			return usageError{err}
		}
		if o.Shape, err = o.Shape.WithTokens(*rows); err != nil {
			return usageError{err}
		}
		types := map[string]tensor.DType{"fp32": tensor.F32, "bf16": tensor.BF16, "fp16": tensor.F16}
		known := false
		if o.DType, known = types[*dtype]; !known {
			return usageError{fmt.Errorf("bench kernels: --dtype %q: want fp32, bf16 or fp16", *dtype)}
		}
		b, err := benchBackend(*where, *threads, &o)
		if err != nil {
			return err
		}
		defer func() {
			if closeErr := b.Close(); err == nil {
				err = closeErr
			}
		}()
		k, err := bench.Kernels(b, o)
		if err != nil {
			return err
		}
		k.Program, k.Machine = "cambium "+build().Version, train.Machine()
		return tellKernels(c, k, *asJSON, *dir)
	}
	return c
}

// benchBackend opens the backend, and on the processor measures its peak.
func benchBackend(name string, threads int, o *bench.KernelOptions) (backend.Backend, error) {
	switch name {
	case config.BackendCUDA:
		return cuda.Open(0)
	case config.BackendCPU:
		options := cpu.Options{Workers: threads}
		if err := options.Check(); err != nil {
			return nil, err
		}
		b := cpu.New(options)
		peak, err := cpu.MeasurePeak(b.Workers())
		o.Peak = peak
		return b, err
	}
	return nil, usageError{fmt.Errorf("bench kernels: --backend %q: want cpu or cuda", name)}
}

func tellKernels(c *cobra.Command, k *report.Kernels, asJSON bool, dir string) error {
	text, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for name, content := range map[string]string{"kernels.md": k.Markdown(), "kernels.json": string(text) + "\n"} {
			if err := os.WriteFile(dir+"/"+name, []byte(content), 0o644); err != nil {
				return err
			}
		}
		if err := report.Roofline(dir, "roofline", k); err != nil {
			return err
		}
	}
	out := k.Markdown()
	if asJSON {
		out = string(text) + "\n"
	}
	_, err = fmt.Fprint(c.OutOrStdout(), out)
	return err
}
