// A function on a stack of its own, which can be left and gone on with. With GCC that takes a few
// instructions. swapcontext asks the kernel for the signal mask each time, but Clang has nothing
// else on every architecture, and AddressSanitizer knows no other way.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <utility>

namespace tests {

class Fiber {
 public:
  using Body = std::function<void(int index)>;

  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next resume() begins body(index); a body that has not ended is forgotten.
  void begin(const Body& body, int index) {
    body_ = &body;
    index_ = index;
    if (std::exchange(ended_, false)) return;  // it waits for another body
    getcontext(&inside_.context);
    inside_.context.uc_stack.ss_sp = stack_.get();
    inside_.context.uc_stack.ss_size = kStackBytes;
    inside_.context.uc_link = nullptr;
    // makecontext passes ints.
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&inside_.context, reinterpret_cast<void (*)()>(enter), 2,
                static_cast<unsigned>(self >> 32), static_cast<unsigned>(self));
    inside_.left = false;
  }
  // Until the body pauses or ends; throws what it throws.
  void resume() {
    change(outside_, inside_);
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }
  void pause() { change(inside_, outside_); }
  bool ended() const { return ended_; }

 private:
  static constexpr std::size_t kStackBytes = 256 * 1024;

  struct Place {
    ucontext_t context;
    void* registers[5];
    bool left = false;  // at `registers`, else at `context`
  };

#if defined(__clang__) || defined(__SANITIZE_ADDRESS__)
  static void change(Place& from, Place& to) { swapcontext(&from.context, &to.context); }
#else
  [[gnu::noinline]] static void change(Place& from, Place& to) {
    from.left = true;
    if (__builtin_setjmp(from.registers) != 0) return;
    if (to.left) __builtin_longjmp(to.registers, 1);
    setcontext(&to.context);
  }
#endif

  static void enter(unsigned high, unsigned low) {
    reinterpret_cast<Fiber*>(std::uintptr_t{high} << 32 | low)->run();
  }
  [[noreturn]] void run() {
    while (true) {
      try {
        (*body_)(index_);
      } catch (...) {
        error_ = std::current_exception();
      }
      ended_ = true;
      pause();
    }
  }

  std::unique_ptr<char[]> stack_{new char[kStackBytes]};
  Place inside_;
  Place outside_;
  const Body* body_ = nullptr;
  int index_ = 0;
  bool ended_ = false;
  std::exception_ptr error_;
};

}  // namespace tests
