package cuda

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gorsqrt/gorsqrt/rsqrt"
	double "github.com/gorsqrt/gorsqrt/tests/cuda"
)

// Four float32 and their results: 4, 16, 0.25, 1.
var (
	four     = []byte{0, 0, 0x80, 0x40, 0, 0, 0x80, 0x41, 0, 0, 0x80, 0x3e, 0, 0, 0x80, 0x3f}
	expected = []byte{0, 0, 0, 0x3f, 0, 0, 0x80, 0x3e, 0, 0, 0, 0x40, 0, 0, 0x80, 0x3f}
	in4      = flatLayout(rsqrt.F32, 0, 4)
)

// complexFour reads the real parts of four complex numbers and writes over all of them: through a temporary.
var (
	realsOfFour = layout{rsqrt.F32, 0, []int{4}, []int{8}}
	complexFour = flatLayout(rsqrt.C64, 0, 4)
)

func complexBytes(reals []byte, fill byte) (all []byte) {
	for i := 0; i < len(reals); i += 4 {
		all = append(all, reals[i:i+4]...)
		all = append(all, fill, fill, fill, fill)
	}
	return all
}

func apply(t *testing.T, device int, dst, src layout, memory double.Memory, stream uintptr) {
	t.Helper()
	if err := Apply(dst.on(device, memory.Address), src.on(device, memory.Address), stream); err != nil {
		t.Fatal(err)
	}
}

func TestAsynchronous(t *testing.T) {
	for device := range 2 {
		for _, stream := range []uintptr{LegacyStream, 1, PerThreadStream, double.NewStream(device, 0), double.NewStream(device, 1)} {
			memory := double.Alloc(device, four)
			apply(t, device, in4, in4, memory, stream)
			if double.Pending(device) != 1 || !bytes.Equal(memory.Peek(16), four) {
				t.Errorf("stream %#x: not asynchronous", stream)
			}
			if code := double.Synchronize(device, stream); code != 0 || !bytes.Equal(memory.Peek(16), expected) {
				t.Errorf("stream %#x: error %d, % x", stream, code, memory.Peek(16))
			}
			memory.Free()
		}
	}
}

func TestEvents(t *testing.T) {
	memory := double.Alloc(0, four)
	defer memory.Free()
	first, second := double.NewStream(0, 1), double.NewStream(0, 1)
	apply(t, 0, in4, in4, memory, first)
	double.Wait(0, second, double.Record(0, first))
	apply(t, 0, in4, in4, memory, second) // the reciprocal root of the reciprocal root
	double.Synchronize(0, second)
	want := slices.Clone(expected)
	_ = rsqrt.Apply(in4.in(want), in4.in(want))
	if got := memory.Peek(16); !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

// The first call of a process may lie in a capture, of any mode, and replays see the memory as it is then.
func TestCapture(t *testing.T) {
	for mode := range uintptr(3) {
		for name, c := range map[string]struct {
			dst, src      layout
			before, after []byte
		}{
			"flat":      {in4, in4, four, expected},
			"temporary": {complexFour, realsOfFour, complexBytes(four, 0xa5), complexBytes(expected, 0)},
		} {
			forget()
			memory := double.Alloc(0, c.before)
			stream := double.NewStream(0, 1)
			graph, code := double.Capture(0, stream, mode, func() { apply(t, 0, c.dst, c.src, memory, stream) })
			if code != 0 || !bytes.Equal(memory.Read(len(c.before)), c.before) {
				t.Fatalf("mode %d, %s: error %d", mode, name, code)
			}
			for range 3 {
				memory.Write(c.before)
				double.Replay(0, graph, stream)
				double.Synchronize(0, stream)
				if got := memory.Read(len(c.before)); !bytes.Equal(got, c.after) {
					t.Errorf("mode %d, %s: % x, want % x", mode, name, got, c.after)
				}
			}
			memory.Free()
		}
	}
}

// A load that does not step out of the capture's way breaks it: the double would notice.
func TestCaptureIsNoticed(t *testing.T) {
	stream := double.NewStream(0, 1)
	code := 0
	_, ended := double.Capture(0, stream, 0, func() {
		code = double.Call("cuMemAlloc_v2", 0, 16)
	})
	if code != 900 || ended != 901 {
		t.Errorf("an allocation in a capture: %d, its end: %d", code, ended)
	}
}

func TestDevices(t *testing.T) {
	memories := []double.Memory{double.Alloc(0, four), double.Alloc(1, four)}
	for device, memory := range memories {
		other := double.NewStream(1-device, 0)
		err := Apply(in4.on(device, memory.Address), in4.on(device, memory.Address), other)
		wantError(t, err, "CUDA error: CUDA_ERROR_INVALID_HANDLE: invalid resource handle")
		wantError(t, Apply(in4.on(0, memories[0].Address), in4.on(1, memories[1].Address), LegacyStream),
			"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cuda:1!")
		apply(t, device, in4, in4, memory, LegacyStream)
		if got := memory.Read(16); !bytes.Equal(got, expected) {
			t.Errorf("device %d: % x", device, got)
		}
	}
	memories[0].Free()
	memories[1].Free()
	third := in4.on(2, memories[0].Address)
	wantError(t, Apply(third, third, LegacyStream), "CUDA error: CUDA_ERROR_INVALID_DEVICE: invalid device ordinal")
	cpu := in4.in(slices.Clone(four))
	wantError(t, Apply(cpu, cpu, LegacyStream), "package cuda computes on CUDA devices; these arrays are in the CPU's memory")
	wantError(t, Apply(third, cpu, LegacyStream), "Expected all tensors to be on the same device, but found at least two devices, cuda:2 and cpu!")
	wantError(t, rsqrt.Apply(third, third), "src is on a CUDA device")
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	var refused *rsqrt.Error
	if !errors.As(err, &refused) || refused.Kind != rsqrt.RuntimeError || !strings.Contains(err.Error(), text) {
		t.Errorf("%v, want %s", err, text)
	}
}

// Refused calls reach no driver, and neither do empty ones.
func TestNothingToDo(t *testing.T) {
	double.Log()
	empty := layout{rsqrt.F32, 0, []int{0, 3}, []int{12, 4}}.on(0, 0)
	if err := Apply(empty, empty, LegacyStream); err != nil {
		t.Error(err)
	}
	wantError(t, Apply(layout{rsqrt.I32, 0, []int{1}, []int{4}}.on(0, 0), layout{rsqrt.F32, 0, []int{1}, []int{4}}.on(0, 0), LegacyStream),
		"result type Float can't be cast to the desired output type Int")
	if calls := double.Log(); len(calls) > 1 || calls[0] != "" {
		t.Errorf("called: %v", calls)
	}
}

// Each call of the driver fails once, in a first call by way of a temporary. That is one clear error; nothing is enqueued, kept or
// left behind; the next call works.
func TestDriverErrors(t *testing.T) {
	runtime.LockOSThread() // the double's current context is the thread's
	defer runtime.UnlockOSThread()
	before := complexBytes(four, 0xa5)
	memory := double.Alloc(0, before)
	defer memory.Free()
	dst, src := complexFour.on(0, memory.Address), realsOfFour.on(0, memory.Address)

	forget()
	double.Log()
	if err := Apply(dst, src, LegacyStream); err != nil {
		t.Fatal(err)
	}
	calls := slices.DeleteFunc(double.Log(), func(line string) bool { return line[0] == ' ' })
	if memory.Read(len(before)); len(calls) < 12 {
		t.Fatalf("only %v", calls)
	}
	for i, call := range calls {
		memory.Write(before)
		forget()
		blocks := double.Reset()
		earlier := 0
		for _, other := range calls[:i] {
			if other == call {
				earlier++
			}
		}
		double.Fail(call, earlier, 2)
		err := Apply(dst, src, LegacyStream)
		wantError(t, err, "CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory")
		leaves := 0 // what the failed call should have taken away
		switch call {
		case "cuCtxPopCurrent":
			double.Call("cuCtxPopCurrent_v2", 0)
		case "cuMemFreeAsync":
			leaves = 1
		default:
			launched := 0
			for _, line := range double.Log() {
				if line == "cuLaunchKernel" {
					launched++
				}
			}
			if launched > 0 && call != "cuLaunchKernel" {
				t.Errorf("%s failed, and something was launched", call)
			}
		}
		if double.Call("cuCtxPopCurrent_v2", 0) == 0 {
			t.Errorf("%s failed, and left a context", call)
		}
		after := memory.Read(len(before))
		if now := double.Reset(); now != blocks+leaves {
			t.Errorf("%s failed: %d memory blocks, before %d", call, now, blocks)
		}
		done := call == "cuCtxPopCurrent" || call == "cuMemFreeAsync"
		if bytes.Equal(after, before) == done {
			t.Errorf("%s failed: % x", call, after)
		}
		memory.Write(before)
		if err := Apply(dst, src, LegacyStream); err != nil {
			t.Errorf("after %s failed: %v", call, err)
		}
		if got := memory.Read(len(before)); !bytes.Equal(got, complexBytes(expected, 0)) {
			t.Errorf("after %s failed: % x", call, got)
		}
		double.Log()
	}
}

// The double's own checks: memory that ends too early, and two items in one place.
func TestDoubleNotices(t *testing.T) {
	memory := double.Alloc(0, four)
	defer memory.Free()
	long := flatLayout(rsqrt.F32, 0, 5)
	apply(t, 0, long, long, memory, LegacyStream)
	if code := double.Synchronize(0, LegacyStream); code != 700 || !strings.Contains(double.Why(), "out of bounds") {
		t.Errorf("too long: error %d, %s", code, double.Why())
	}
	err := Apply(in4.on(0, memory.Address), in4.on(0, memory.Address), LegacyStream)
	wantError(t, err, "CUDA error: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered")
	double.Reset()
}

func TestFork(t *testing.T) {
	double.Fail("cuInit", 0, 3) // what the driver says in a child whose parent has used it
	a := in4.on(0, 0)
	wantError(t, Apply(a, a, LegacyStream), "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start method")
}

// A process of its own, for whose loader the driver's library is what the test puts there.
func TestWithoutDriver(t *testing.T) {
	if os.Getenv("GORSQRT_TEST_WITHOUT_DRIVER") != "" {
		a := in4.on(0, 0)
		for range 2 {
			err := Apply(a, a, LegacyStream)
			wantError(t, err, os.Getenv("GORSQRT_TEST_WITHOUT_DRIVER"))
		}
		return
	}
	folder := t.TempDir()
	library := filepath.Join(folder, "libcuda.so.1")
	run := func(text string) {
		command := exec.Command(os.Args[0], "-test.run=^TestWithoutDriver$", "-test.v")
		command.Env = append(os.Environ(), "GORSQRT_TEST_WITHOUT_DRIVER="+text, "LD_LIBRARY_PATH="+folder)
		if said, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, said)
		}
	}
	if err := os.WriteFile(library, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	run("CUDA error: NVIDIA's driver could not be loaded (" + library + ": file too short); an array on a CUDA device needs it")
	for text, code := range map[string]string{
		"CUDA error: 302, which this driver has no name for": "int cuInit(unsigned f) { return f; }",
		"CUDA error: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected": `int cuInit(unsigned f) { return 100 + f; }
			int cuGetErrorName(int code, const char **name) { *name = "CUDA_ERROR_NO_DEVICE"; return code - 100; }
			int cuGetErrorString(int code, const char **text) { *text = "no CUDA-capable device is detected"; return code - 100; }`,
	} {
		source := filepath.Join(folder, "libcuda.c")
		if err := os.WriteFile(source, []byte(code), 0o666); err != nil {
			t.Fatal(err)
		}
		if said, err := exec.Command("cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", source, "-o", library).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		run(text)
	}
}
