// ldmatrix and mma.sync: PTX ISA, "Matrix fragments for mma.m16n8k16" and "ldmatrix".
#include "ops/cuda/emulated/device.h"

namespace tsugi::dev {
namespace {

float low(uint32_t pair) { return bits_to_float(pair << 16); }
float high(uint32_t pair) { return bits_to_float(pair & 0xFFFF0000u); }

struct LoadCall {
  uint32_t* registers;
  const bf16* row;
};

/// Lane l gives the address of row l % 8 of matrix l / 8; it receives of matrix m the elements (l / 4, 2·(l % 4)) and
/// the next one, or with `transposed` the elements (2·(l % 4), l / 4) and the one below.
void load_matrices(uint32_t* registers, const bf16* row, bool transposed, const char* name, Where where) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) emulated::fault("ldmatrix: a row that is not 16-byte aligned", where);
  shared_memory().read(row, 16, emulated::current_accessor());
  LoadCall call{registers, row};
  emulated::collective(name, where, call, [transposed](const auto& all) {
    for (size_t lane = 0; lane < all.size(); ++lane) {
      const size_t g = lane / 4;
      const size_t t = lane % 4 * 2;
      for (size_t m = 0; m < 4; ++m) {
        const uint16_t first = transposed ? all[m * 8 + t]->row[g].bits : all[m * 8 + g]->row[t].bits;
        const uint16_t second = transposed ? all[m * 8 + t + 1]->row[g].bits : all[m * 8 + g]->row[t + 1].bits;
        all[lane]->registers[m] = static_cast<uint32_t>(first) | static_cast<uint32_t>(second) << 16;
      }
    }
  });
}

struct MultiplyCall {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};

}  // namespace

void ldmatrix_x4(uint32_t (&registers)[4], const bf16* row, Where where) {
  load_matrices(registers, row, false, "ldmatrix", where);
}

void ldmatrix_x4_transposed(uint32_t (&registers)[4], const bf16* row, Where where) {
  load_matrices(registers, row, true, "ldmatrix.trans", where);
}

void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Where where) {
  MultiplyCall call{d, a, {b0, b1}};
  emulated::collective("mma", where, call, [](const auto& all) {
    float a_matrix[16][16], b_matrix[16][8], d_matrix[16][8] = {};
    for (size_t lane = 0; lane < all.size(); ++lane) {
      const MultiplyCall& c = *all[lane];
      const size_t g = lane / 4;
      const size_t t = lane % 4 * 2;
      for (size_t i = 0; i < 4; ++i) {
        a_matrix[g + 8 * (i % 2)][t + 8 * (i / 2)] = low(c.a[i]);
        a_matrix[g + 8 * (i % 2)][t + 8 * (i / 2) + 1] = high(c.a[i]);
      }
      for (size_t i = 0; i < 2; ++i) {
        b_matrix[t + 8 * i][g] = low(c.b[i]);
        b_matrix[t + 8 * i + 1][g] = high(c.b[i]);
      }
    }
    for (size_t row = 0; row < 16; ++row) {
      for (size_t k = 0; k < 16; ++k) {
        for (size_t column = 0; column < 8; ++column) d_matrix[row][column] += a_matrix[row][k] * b_matrix[k][column];
      }
    }
    for (size_t lane = 0; lane < all.size(); ++lane) {
      const size_t g = lane / 4;
      const size_t t = lane % 4 * 2;
      for (size_t i = 0; i < 4; ++i) all[lane]->d[i] += d_matrix[g + 8 * (i / 2)][t + i % 2];
    }
  });
}

}  // namespace tsugi::dev
