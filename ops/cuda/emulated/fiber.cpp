#include "ops/cuda/emulated/fiber.h"

#include <glog/logging.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#error "the stack switch below is written for x86-64"
#endif

// Saves what a callee must preserve on the running stack, stores its pointer, and continues on the other one.
// (ucontext makes a system call per switch for the signal mask.)
extern "C" void tsugi_switch_stack(void** save, void* load);
asm(R"(
.text
.globl tsugi_switch_stack
.type tsugi_switch_stack,@function
tsugi_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tsugi_switch_stack,.-tsugi_switch_stack
)");

namespace tsugi::emulated {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStackBytes = 512 << 10;
#else
constexpr size_t kStackBytes = 128 << 10;
#endif
constexpr size_t kGuardBytes = 4096;

}  // namespace

Fiber::~Fiber() {
  if (stack_ != nullptr) munmap(stack_, kGuardBytes + kStackBytes);
}

void Fiber::start(void (*entry)()) {
  if (stack_ == nullptr) {
    void* memory = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    PCHECK(memory != MAP_FAILED);
    PCHECK(mprotect(memory, kGuardBytes, PROT_NONE) == 0);
    stack_ = static_cast<std::byte*>(memory);
    bottom_ = stack_ + kGuardBytes;
    bytes_ = kStackBytes;
  }
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(stack_ + kGuardBytes, kStackBytes);
#endif
  void** top = reinterpret_cast<void**>(stack_ + kGuardBytes + kStackBytes);
  *--top = nullptr;  // where entry would return to; keeps its frame aligned as a call would
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  stack_pointer_ = static_cast<void*>(top);
  fake_stack_ = nullptr;
}

void Fiber::switch_between(Fiber& from, Fiber& to) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.bytes_);
#endif
  tsugi_switch_stack(&from.stack_pointer_, to.stack_pointer_);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::entered([[maybe_unused]] Fiber& from) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &from.bottom_, &from.bytes_);
#endif
}

}  // namespace tsugi::emulated
