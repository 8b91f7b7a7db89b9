// wgmma: a warp multiplies its 16 of the 64 rows. Products are executed when their group is waited for, operands are
// read then, and until then the accumulators hold NaN.
#include <limits>

#include "ops/cuda/emulated/hopper.h"

namespace tsugi::dev {
namespace {

using emulated::Lane;
using emulated::MatrixProduct;
using emulated::Warp;

struct Descriptor {
  size_t start, leading, stride;
};

Descriptor decode(uint64_t bits, Where where) {
  if (bits >> 62 != 1) emulated::fault("wgmma: the descriptor does not say 128-byte swizzle", where);
  if ((bits >> 49 & 7) != 0) emulated::fault("wgmma: the emulator knows tiles without a base offset only", where);
  const auto field = [&](int shift) { return static_cast<size_t>(bits >> shift & 0x3FFF) << 4; };
  return {field(0), field(16), field(32)};
}

/// Bytes from the start of shared memory of element (row, k) of a K-major tile, or (k, column) of a transposed one.
size_t element_address(const Descriptor& d, bool transposed, size_t row, size_t k) {
  const size_t linear = transposed ? d.start + row / 64 * d.leading + k / 8 * d.stride + k % 8 * 128 + row % 64 * 2
                                   : d.start + row / 8 * d.stride + row % 8 * 128 + k * 2;
  return linear ^ (linear / 128 % 8) * 16;
}

/// Reads [rows, 16] into floats, checking every access.
void read_operand(uint64_t bits, bool transposed, size_t first_row, size_t rows, float* out, Where where) {
  const Descriptor d = decode(bits, where);
  emulated::SharedMemory& memory = shared_memory();
  const auto& fences = emulated::current_lane->warp->block->fences;
  for (size_t r = 0; r < rows; ++r) {
    for (size_t k = 0; k < 16; ++k) {
      const size_t address = element_address(d, transposed, first_row + r, k);
      memory.read_by_engine(memory.data() + address, sizeof(bf16), emulated::current_accessor(), fences);
      bf16 value;
      std::memcpy(static_cast<void*>(&value), memory.data() + address, sizeof(value));
      out[r * 16 + k] = static_cast<float>(value);
    }
  }
}

void execute(Warp& warp, const MatrixProduct& product) {
  float a[16 * 16], b[256 * 16];
  const auto n = static_cast<size_t>(product.n);
  if (product.a_registers[0] == nullptr) {
    read_operand(product.a, product.transposed_a, static_cast<size_t>(warp.index % 4) * 16, 16, a, product.where);
  } else {
    for (size_t lane = 0; lane < 32; ++lane) {
      for (size_t i = 0; i < 4; ++i) {
        const size_t at = (lane / 4 + 8 * (i % 2)) * 16 + lane % 4 * 2 + 8 * (i / 2);
        a[at] = bits_to_float(product.a_registers[lane][i] << 16);
        a[at + 1] = bits_to_float(product.a_registers[lane][i] & 0xFFFF0000u);
      }
    }
  }
  read_operand(product.b, product.transposed_b, 0, n, b, product.where);
  for (emulated::Accumulators& accumulators : warp.accumulators) {
    if (accumulators.registers[0] != product.d) continue;
    for (size_t lane = 0; lane < 32; ++lane) {
      float* d = accumulators.values.data() + lane * n / 2;
      for (size_t i = 0; i < n / 2; ++i) {
        const size_t row = lane / 4 + 8 * (i / 2 % 2);
        const size_t column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        float sum = 0.0f;
        for (size_t k = 0; k < 16; ++k) sum += a[row * 16 + k] * b[column * 16 + k];
        d[i] = product.accumulate ? d[i] + sum : sum;
      }
    }
    if (--accumulators.pending == 0) {
      for (size_t lane = 0; lane < 32; ++lane) {
        std::copy_n(accumulators.values.data() + lane * n / 2, n / 2, accumulators.registers[lane]);
      }
    }
  }
  std::erase_if(warp.accumulators, [](const auto& accumulators) { return accumulators.pending == 0; });
}

}  // namespace

void wgmma_fence(Where where) {
  int nothing = 0;
  emulated::collective("wgmma_fence", where, nothing,
                       [](const auto&) { emulated::current_lane->warp->registers_fenced = true; });
}

void wgmma_commit(Where where) {
  int nothing = 0;
  emulated::collective("wgmma_commit", where, nothing,
                       [](const auto&) { ++emulated::current_lane->warp->product_groups; });
}

void wgmma_wait_at_most(int groups, Where where) {
  int nothing = 0;
  emulated::collective("wgmma_wait", where, nothing, [groups](const auto&) {
    Warp& warp = *emulated::current_lane->warp;
    while (!warp.products.empty() && warp.products.front().group < warp.product_groups - groups) {
      execute(warp, warp.products.front());
      warp.products.pop_front();
    }
    warp.registers_fenced = false;
  });
}

void issue_wgmma(int n, bool transposed_a, bool transposed_b, bool accumulate, float* d, const uint32_t* a_registers,
                 uint64_t a, uint64_t b, Where where) {
  struct Call {
    float* d;
    const uint32_t* a_registers;
    uint64_t a, b;
  } call{d, a_registers, a, b};
  emulated::collective("wgmma", where, call, [&](const auto& all) {
    Warp& warp = *emulated::current_lane->warp;
    if (warp.block->warp_count % 4 != 0 && warp.index / 4 == warp.block->warp_count / 4) {
      emulated::fault("wgmma by a warp that is in no whole warpgroup", where);
    }
    if (!warp.registers_fenced) emulated::fault("wgmma without wgmma_fence after the registers were in use", where);
    MatrixProduct product;
    product.group = warp.product_groups;
    product.n = n;
    product.transposed_a = transposed_a;
    product.transposed_b = transposed_b;
    product.accumulate = accumulate;
    product.d = all[0]->d;
    product.a = a;
    product.b = b;
    product.where = where;
    for (size_t lane = 0; lane < all.size(); ++lane) {
      if (all[lane]->a != a || all[lane]->b != b) emulated::fault("wgmma: the descriptors of a warp differ", where);
      product.a_registers[lane] = all[lane]->a_registers;
    }
    // What is read must be there already, even if it will be read later.
    float scratch[256 * 16];
    if (a_registers == nullptr) {
      read_operand(a, transposed_a, static_cast<size_t>(warp.index % 4) * 16, 16, scratch, where);
    }
    read_operand(b, transposed_b, 0, static_cast<size_t>(n), scratch, where);

    for (emulated::Accumulators& accumulators : warp.accumulators) {
      if (accumulators.registers[0] == all[0]->d) {
        ++accumulators.pending;
        warp.products.push_back(product);
        return;
      }
    }
    emulated::Accumulators fresh;
    fresh.pending = 1;
    const auto count = static_cast<size_t>(n) / 2;
    for (size_t lane = 0; lane < all.size(); ++lane) {
      fresh.registers[lane] = all[lane]->d;
      fresh.values.insert(fresh.values.end(), all[lane]->d, all[lane]->d + count);
      std::fill_n(all[lane]->d, count, std::numeric_limits<float>::quiet_NaN());
    }
    warp.accumulators.push_back(std::move(fresh));
    warp.products.push_back(product);
  });
}

}  // namespace tsugi::dev
