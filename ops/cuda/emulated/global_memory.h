// Emulated device memory: every access of a kernel must lie inside one allocation.
#pragma once

#include <cstddef>

#include "ops/cuda/emulated/machine.h"

namespace tsugi::emulated {

/// 256-byte aligned, every byte 0xFF, with guard zones on both sides.
void* allocate_global(size_t bytes);
/// Throws Fault if the guard zones were written to.
void free_global(void* address);

/// Throws Fault unless [address, address + bytes) lies inside one allocation and is aligned to `alignment`.
void check_global(const void* address, size_t bytes, size_t alignment, Where where);

}  // namespace tsugi::emulated
