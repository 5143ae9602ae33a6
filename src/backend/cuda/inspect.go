//go:build cuda

package cuda

import (
	"fmt"

	"gorgonia.org/cu"
)

// Describe asks the driver, and takes no memory of a device. The error says what is missing.
func Describe() (d Description, err error) {
	n, err := Devices()
	if err != nil {
		return d, err
	}
	version := cu.Version() // 13000 is 13.0
	d.Driver = fmt.Sprintf("%d.%d", version/1000, version%1000/10)
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
		d.Devices = append(d.Devices, one)
	}
	return d, nil
}
