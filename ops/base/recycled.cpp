#include "ops/base/recycled.h"

#include <array>
#include <bit>
#include <new>

namespace tsugi {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kLargest = 0;
#else
constexpr size_t kLargest = 64 << 10;
#endif

/// Blocks of 16, 32, … bytes, each class a list.
struct Kept {
  struct Block {
    Block* next;
  };
  std::array<Block*, 17> lists{};

  Block*& list_of(size_t size) { return lists[static_cast<size_t>(std::countr_zero(size))]; }
  ~Kept();
};

/// Objects of static lifetime are given back after a thread's own objects ended.
thread_local constinit bool ended = false;
thread_local Kept kept;

Kept::~Kept() {
  ended = true;
  for (Block* list : lists) {
    while (list != nullptr) {
      Block* const block = list;
      list = block->next;
      ::operator delete(block);
    }
  }
}

size_t size_of_class(size_t bytes) { return std::bit_ceil(bytes < 16 ? size_t{16} : bytes); }

}  // namespace

void* take_recycled(size_t bytes) {
  if (bytes > kLargest) return ::operator new(bytes);
  const size_t size = size_of_class(bytes);
  if (!ended) {
    Kept::Block*& list = kept.list_of(size);
    if (list != nullptr) {
      Kept::Block* const block = list;
      list = block->next;
      return block;
    }
  }
  return ::operator new(size);
}

void give_recycled(void* block, size_t bytes) noexcept {
  if (bytes > kLargest || ended) {
    ::operator delete(block);
    return;
  }
  Kept::Block*& list = kept.list_of(size_of_class(bytes));
  list = ::new (block) Kept::Block{list};
}

}  // namespace tsugi
