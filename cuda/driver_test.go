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
	"unsafe"

	"github.com/gorsqrt/gorsqrt/cgo"
	"github.com/gorsqrt/gorsqrt/rsqrt"
	double "github.com/gorsqrt/gorsqrt/tests/cuda"
	"gorgonia.org/cu"
)

// Four float32 and their results: 4, 16, 0.25, 1.
var (
	four     = []byte{0, 0, 0x80, 0x40, 0, 0, 0x80, 0x41, 0, 0, 0x80, 0x3e, 0, 0, 0x80, 0x3f}
	expected = []byte{0, 0, 0, 0x3f, 0, 0, 0x80, 0x3e, 0, 0, 0, 0x40, 0, 0, 0x80, 0x3f}
	in4      = flatLayout(rsqrt.F32, 0, 4)
)

// complexFour reads the real parts of four complex numbers and writes over all of them: through a
// temporary.
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

// The first call of a process may lie in a capture, of any mode, and replays see the memory as it
// is then.
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

// What is enqueued on the streams beside comes before, where it was there first, and after, where
// it came later.
func TestBeside(t *testing.T) {
	for device := range 2 {
		for first := range 2 {
			src, dst := double.Alloc(device, four), double.Alloc(device, make([]byte, len(four)))
			stream, beside := double.NewStream(device, 1), []uintptr{double.NewStream(device, 1), double.NewStream(device, 1)}
			double.Log()
			apply(t, device, in4, in4, src, beside[0])
			if err := ApplyIn(in4.on(device, dst.Address), in4.on(device, src.Address), rsqrt.F32, stream, beside...); err != nil {
				t.Fatal(err)
			}
			apply(t, device, in4, in4, src, beside[0])
			apply(t, device, in4, in4, dst, beside[1])
			if double.Pending(device) == 0 || !bytes.Equal(src.Peek(len(four)), four) {
				t.Error("not asynchronous")
			}
			double.Synchronize(device, beside[first])
			double.Synchronize(device, beside[1-first])
			want := slices.Clone(expected)
			for i, got := range [][]byte{src.Peek(len(want)), dst.Peek(len(want))} {
				_ = rsqrt.Apply(in4.in(want), in4.in(want))
				if !bytes.Equal(got, want) {
					t.Errorf("device %d, %d first, memory %d: % x, want % x", device, first, i, got, want)
				}
			}
			src.Free()
			dst.Free()
			events := map[string]int{}
			for _, call := range double.Log() {
				events[call]++
			}
			if events["cuEventCreate"] != 4 || events["cuEventDestroy"] != 4 {
				t.Errorf("events: %v", events)
			}
		}
	}
}

// In a capture the streams beside become part of it.
func TestBesideInCapture(t *testing.T) {
	memory := double.Alloc(0, four)
	defer memory.Free()
	stream, beside := double.NewStream(0, 1), double.NewStream(0, 1)
	graph, code := double.Capture(0, stream, 0, func() {
		if err := ApplyIn(in4.on(0, memory.Address), in4.on(0, memory.Address), rsqrt.F32, stream); err != nil {
			t.Fatal(err)
		}
		if err := order(stream, beside); err != nil {
			t.Fatal(err)
		}
		if err := ApplyIn(in4.on(0, memory.Address), in4.on(0, memory.Address), rsqrt.F32, stream, beside); err != nil {
			t.Fatal(err)
		}
	})
	if code != 0 || !bytes.Equal(memory.Read(len(four)), four) {
		t.Fatalf("error %d", code)
	}
	double.Replay(0, graph, stream)
	double.Synchronize(0, stream)
	want := slices.Clone(expected)
	_ = rsqrt.Apply(in4.in(want), in4.in(want))
	if got := memory.Read(len(want)); !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

func TestDeviceOf(t *testing.T) {
	for device := range 2 {
		memory := double.Alloc(device, four)
		if index, err := DeviceOf(pointer(memory.Address + 15)); index != device || err != nil {
			t.Errorf("on device %d: %d, %v", device, index, err)
		}
		double.Fail("cuPointerGetAttribute", 0, 2)
		_, err := DeviceOf(pointer(memory.Address))
		wantError(t, err, "CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory")
		memory.Free()
	}
	_, err := DeviceOf(unsafe.Pointer(&four[0]))
	wantError(t, err, "CUDA error: CUDA_ERROR_INVALID_VALUE: invalid argument")
}

// Each call of the driver fails once: in a first call on contiguous items, in one with a temporary,
// and in one with a second stream. The call is one clear error, and leaves nothing behind. Nothing
// is enqueued unless the work was enqueued before the failure. The next call works.
func TestDriverErrors(t *testing.T) {
	runtime.LockOSThread() // the double's current context is the thread's
	defer runtime.UnlockOSThread()
	for name, c := range map[string]struct {
		dst, src      layout
		before, after []byte
		beside        []uintptr
		calls         int
	}{
		"flat":      {in4, in4, four, expected, nil, 12},
		"temporary": {complexFour, realsOfFour, complexBytes(four, 0xa5), complexBytes(expected, 0), nil, 15},
		"beside":    {in4, in4, four, expected, []uintptr{double.NewStream(0, 1)}, 20},
	} {
		memory := double.Alloc(0, c.before)
		defer memory.Free()
		call := func() error {
			return ApplyIn(c.dst.on(0, memory.Address), c.src.on(0, memory.Address), rsqrt.F32, LegacyStream, c.beside...)
		}
		called := func() []string {
			return slices.DeleteFunc(double.Log(), func(line string) bool { return line == "" || line[0] == ' ' })
		}
		forget()
		called()
		if err := call(); err != nil {
			t.Fatal(err)
		}
		calls := called()
		launch := slices.Index(calls, "cuLaunchKernel")
		if memory.Read(len(c.before)); len(calls) < c.calls || launch < 0 {
			t.Fatalf("%s: only %v", name, calls)
		}
		for i, failing := range calls {
			memory.Write(c.before)
			forget()
			blocks := double.Reset()
			called()
			earlier := 0
			for _, other := range calls[:i] {
				if other == failing {
					earlier++
				}
			}
			double.Fail(failing, earlier, 2)
			wantError(t, call(), "CUDA error: CUDA_ERROR_OUT_OF_MEMORY: out of memory")
			leaves := 0 // what the failed call should have taken away
			switch failing {
			case "cuCtxPopCurrent":
				double.Call("cuCtxPopCurrent_v2", 0)
			case "cuMemFreeAsync":
				leaves = 1
			}
			if now := called(); slices.Contains(now, "cuLaunchKernel") != (i >= launch) {
				t.Errorf("%s: call %d, %s, failed: %v", name, i, failing, now)
			}
			if double.Call("cuCtxPopCurrent_v2", 0) == 0 {
				t.Errorf("%s: %s failed, and left a context", name, failing)
			}
			want := c.before
			if i > launch {
				want = c.after
			}
			if after := memory.Read(len(want)); !bytes.Equal(after, want) {
				t.Errorf("%s: call %d, %s, failed: % x, want % x", name, i, failing, after, want)
			}
			if now := double.Reset(); now != blocks+leaves {
				t.Errorf("%s: %s failed: %d memory blocks, before %d", name, failing, now, blocks)
			}
			memory.Write(c.before)
			if err := call(); err != nil {
				t.Errorf("%s: after %s failed: %v", name, failing, err)
			}
			if got := memory.Read(len(c.after)); !bytes.Equal(got, c.after) {
				t.Errorf("%s: after %s failed: % x", name, failing, got)
			}
		}
	}
}

// The double's own checks: memory that ends too early, an address between two, two threads at one
// place, and what is no PTX.
func TestDoubleNotices(t *testing.T) {
	memory := double.Alloc(0, append(slices.Clone(four), four...))
	defer memory.Free()
	launch := func(t *testing.T, kernel func(*kernels) cu.Function, n int, words []uint64) {
		t.Helper()
		double.On(0, func() {
			gpu, err := deviceAt(0)
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := gpu.of(rsqrt.F32)
			if err != nil {
				t.Fatal(err)
			}
			if err := start(kernel(loaded), n, flight, words, cu.NoStream); err != nil {
				t.Fatal(err)
			}
		})
	}
	flat, strided := func(k *kernels) cu.Function { return k.flat }, func(k *kernels) cu.Function { return k.items }
	at := uint64(memory.Address)
	strides := func(src, dst int, from uintptr) []uint64 { // two items
		plan := cgo.Plan{N: 2, SrcSize: 4, DstSize: 4, NDim: 1}
		plan.Shape[0], plan.SrcStrides[0], plan.DstStrides[0] = 2, src, dst
		return described(&plan, rsqrt.F32, rsqrt.F32, memory.Address, from).words()
	}
	for name, c := range map[string]struct {
		kernel func(*kernels) cu.Function
		words  []uint64
		code   int
		why    string
	}{
		"too long":     {flat, []uint64{at, at, 9}, 700, "out of bounds"},
		"not aligned":  {flat, []uint64{at, at + 8, 4}, 716, "a misaligned access"},
		"one place":    {strided, strides(4, 0, memory.Address+16), 719, "a race"},
		"read as well": {strided, strides(4, 4, memory.Address+4), 719, "a race"},
	} {
		launch(t, c.kernel, 2, c.words)
		if code := double.Synchronize(0, LegacyStream); code != c.code || !strings.Contains(double.Why(), c.why) {
			t.Errorf("%s: error %d, %s", name, code, double.Why())
		}
		if err := Apply(in4.on(0, memory.Address), in4.on(0, memory.Address), LegacyStream); err == nil {
			t.Errorf("%s: the next call works", name)
		}
		double.Reset()
	}
	if _, code := double.LoadModule(0, ".version 4.2\n.target sm_52\n.address_size 64\n.visible .entry f() { exit; }"); code != 218 {
		t.Errorf("an unknown instruction: error %d, %s", code, double.Why())
	}
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
