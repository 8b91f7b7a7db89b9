// Small objects that every step makes anew, in the same sizes: a block that is given back is kept, by size, for the
// next object that asks for one, so that a step like the one before it asks the heap for nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace tsugi {

/// A block of at least `bytes`, aligned as operator new aligns. Blocks of over 64 KiB are not kept; nothing is where
/// AddressSanitizer looks on. Each thread keeps what it gives back, until it ends.
void* take_recycled(size_t bytes);
/// `bytes` as they were asked for. Any thread may give back a block.
void give_recycled(void* block, size_t bytes) noexcept;

/// For std::allocate_shared and containers.
template <class T>
struct RecyclingAllocator {
  using value_type = T;

  RecyclingAllocator() = default;
  template <class U>
  RecyclingAllocator(const RecyclingAllocator<U>&) {}  // NOLINT(google-explicit-constructor): as allocators convert

  T* allocate(size_t count) {
    static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    return static_cast<T*>(take_recycled(count * sizeof(T)));
  }
  void deallocate(T* block, size_t count) noexcept { give_recycled(block, count * sizeof(T)); }
  template <class U>
  bool operator==(const RecyclingAllocator<U>&) const {
    return true;
  }
};

template <class T, class... Arguments>
std::shared_ptr<T> make_recycled(Arguments&&... arguments) {
  return std::allocate_shared<T>(RecyclingAllocator<T>(), std::forward<Arguments>(arguments)...);
}

/// A call without arguments, once or more often; what it captured lies in a recycled block. Can be moved, not copied.
class RecycledCall {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, RecycledCall>)
  explicit RecycledCall(F&& function) : kind_(&kKindOf<std::decay_t<F>>) {
    using Function = std::decay_t<F>;
    static_assert(alignof(Function) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
    function_ = take_recycled(sizeof(Function));
    ::new (function_) Function(std::forward<F>(function));
  }
  RecycledCall(RecycledCall&& other) noexcept
      : kind_(other.kind_), function_(std::exchange(other.function_, nullptr)) {}
  RecycledCall& operator=(RecycledCall&& other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(function_, other.function_);
    return *this;
  }
  ~RecycledCall() {
    if (function_ != nullptr) kind_->release(function_);
  }

  void operator()() { kind_->call(function_); }

 private:
  struct Kind {
    void (*call)(void*);
    void (*release)(void*);
  };
  template <class Function>
  static constexpr Kind kKindOf{
      [](void* function) { (*static_cast<Function*>(function))(); },
      [](void* function) {
        static_cast<Function*>(function)->~Function();
        give_recycled(function, sizeof(Function));
      },
  };

  const Kind* kind_;
  void* function_ = nullptr;
};

}  // namespace tsugi
