//go:build cuda

package cuda

import (
	"errors"
	"fmt"

	"gorgonia.org/cu"
)

// Describe asks the driver, and has the first GPU that can be used try cuBLASLt. The error says what is missing.
func Describe() (d Description, err error) {
	n, err := Devices()
	if err != nil {
		return d, err
	}
	d.Driver = versionText(cu.Version())
	for i := range n {
		b := &gpu{}
		if b.device, err = cu.GetDevice(i); err != nil {
			return d, fmt.Errorf("cuda: device %d: %w", i, err)
		}
		var one Device
		if err := b.inspect(); err != nil {
			one.Problem = err.Error()
		}
		one.Name, one.Multiprocessor = b.name, b.units
		major, minor, err := b.device.ComputeCapability()
		if err != nil {
			return d, fmt.Errorf("cuda: compute capability of device %d: %w", i, err)
		}
		one.Capability = fmt.Sprintf("%d.%d", major, minor)
		if one.Memory, err = b.device.TotalMem(); err != nil {
			return d, fmt.Errorf("cuda: memory of device %d: %w", i, err)
		}
		if one.Problem == "" && d.CUBLASLt == "" && d.CUBLASLtProblem == "" {
			if d.CUBLASLt, err = b.tryBlas(); err != nil {
				d.CUBLASLtProblem = err.Error()
			}
		}
		d.Devices = append(d.Devices, one)
	}
	return d, nil
}

// tryBlas is the version of cuBLASLt, or why there is none.
func (b *gpu) tryBlas() (version string, err error) {
	if b.context, err = b.device.RetainPrimaryCtx(); err != nil {
		return "", fmt.Errorf("cuda: context of %s: %w", b.name, err)
	}
	err = b.do(func() error {
		l, err := openBlas(emulated())
		if err != nil {
			return err
		}
		version = l.versionText()
		l.close()
		return nil
	})
	return version, errors.Join(err, b.device.ReleasePrimaryCtx())
}
