// Linear algebra of a handful of unknowns: Cholesky, least squares of up to three columns, symmetric eigenvalues.
#pragma once

#include <array>
#include <span>

#include "core/scaling/laws/law.h"

namespace tsugi {

/// Symmetric matrices of order `n` <= kMaxParameters; the rest is unused.
using SmallMatrix = std::array<std::array<double, kMaxParameters>, kMaxParameters>;

/// Lower Cholesky factor in place; false when the matrix is not positive definite.
bool cholesky(SmallMatrix& matrix, int n);
/// x := L^-T x for the lower factor L.
void solve_transposed(const SmallMatrix& lower, int n, std::span<double> x);
/// x := L^-1 x for the lower factor L.
void solve_lower(const SmallMatrix& lower, int n, std::span<double> x);

/// Eigenvalues, ascending (Jacobi rotations).
std::array<double, kMaxParameters> symmetric_eigenvalues(SmallMatrix matrix, int n);

/// Weighted least squares Σ w (y - Σ x_k c_k)² with c_k >= 0 for up to three columns, by trying every set of columns
/// (exact for so few; Lawson and Hanson 1974 otherwise).
struct NonNegativeFit {
  std::array<double, 3> coefficient{};
  double squares = 0.0;
};
NonNegativeFit non_negative_least_squares(std::span<const std::span<const double>> columns, std::span<const double> y,
                                          std::span<const double> weights);

/// Ordinary least squares y = c_0 + Σ_k c_k x_k (`columns` without the constant, at most 7; weights > 0).
struct LinearFit {
  bool determined = false;                           ///< false: too few points, or columns that depend on each other
  std::array<double, kMaxParameters> coefficient{};  ///< constant first
  std::array<double, kMaxParameters> standard_error{};
  double squares = 0.0;  ///< weighted sum of squared residuals
  int degrees = 0;       ///< points minus coefficients
};
LinearFit linear_fit(std::span<const std::span<const double>> columns, std::span<const double> y,
                     std::span<const double> weights = {});

}  // namespace tsugi
