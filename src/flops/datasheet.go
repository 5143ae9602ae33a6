package flops

import "strings"

// Sheet is what a vendor says of a device.
type Sheet struct {
	Device string  // as drivers name it
	BF16   float64 // operations a second of dense bf16 or fp16 products that are added up in fp32
	Source string
}

// Sheets are the devices that are known. Where a name begins with another, the longer stands first.
func Sheets() []Sheet {
	return []Sheet{
		{"NVIDIA A100", 312e12, "NVIDIA A100 datasheet"},
		{"NVIDIA H100 PCIe", 756e12, "NVIDIA H100 datasheet, PCIe"},
		{"NVIDIA H100", 989e12, "NVIDIA H100 datasheet, SXM"},
		{"NVIDIA H200", 989e12, "NVIDIA H200 datasheet, SXM"},
		{"NVIDIA B200", 2250e12, "NVIDIA Blackwell datasheet, HGX B200"},
	}
}

// SheetOf finds a device by a text that has its name in it, such as a backend's name.
func SheetOf(name string) (Sheet, bool) {
	for _, s := range Sheets() {
		if strings.Contains(name, s.Device) {
			return s, true
		}
	}
	return Sheet{}, false
}
