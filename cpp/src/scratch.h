// Memory of each worker, kept by the calling thread from call to call, unless it is very large:
// small calls must not pay for an allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace fastsoftmax {

class Scratch {
 public:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::size_t kKept = std::size_t{256} << 20;  // at most, between calls

  static std::size_t aligned(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  // Throws std::bad_alloc. One of them at a time on a thread.
  Scratch(std::size_t bytes_per_worker, int workers) : stride_(aligned(bytes_per_worker)) {
    static thread_local Buffer buffer;
    const std::size_t needed = stride_ * static_cast<std::size_t>(workers);
    if (needed > buffer.size) {
      buffer.memory.reset();
      buffer.size = 0;
      buffer.memory.reset(static_cast<char*>(std::aligned_alloc(kAlignment, needed)));
      if (buffer.memory == nullptr) throw std::bad_alloc();
      buffer.size = needed;
    }
    base_ = buffer.memory.get();
    buffer_ = &buffer;
  }
  ~Scratch() {
    if (buffer_->size <= kKept) return;
    buffer_->memory.reset();
    buffer_->size = 0;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Null where no bytes were asked for.
  char* of(int worker) const {
    return stride_ == 0 ? nullptr : base_ + stride_ * static_cast<std::size_t>(worker);
  }

 private:
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  struct Buffer {
    std::unique_ptr<char, Free> memory;
    std::size_t size = 0;
  };

  std::size_t stride_;
  char* base_;
  Buffer* buffer_;
};

// Hands out pieces of memory one behind the other; from null it counts.
class Carver {
 public:
  explicit Carver(char* begin) : begin_(begin), at_(begin) {}

  template <class T>
  T* take(std::int64_t count, std::size_t bytes_each = sizeof(T)) {
    char* const here = at_;
    at_ += Scratch::aligned(static_cast<std::size_t>(count) * bytes_each);
    return reinterpret_cast<T*>(here);
  }
  std::size_t bytes() const { return static_cast<std::size_t>(at_ - begin_); }

 private:
  char* begin_;
  char* at_;
};

}  // namespace fastsoftmax
