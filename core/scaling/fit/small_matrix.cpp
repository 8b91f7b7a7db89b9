#include "core/scaling/fit/small_matrix.h"

#include <glog/logging.h>

#include <cmath>
#include <vector>

namespace tsugi {

bool cholesky(SmallMatrix& matrix, int n) {
  for (int j = 0; j < n; ++j) {
    double diagonal = matrix[j][j];
    for (int k = 0; k < j; ++k) diagonal -= matrix[j][k] * matrix[j][k];
    if (!(diagonal > 1e-14 * std::abs(matrix[j][j])) || !std::isfinite(diagonal)) return false;
    matrix[j][j] = std::sqrt(diagonal);
    for (int i = j + 1; i < n; ++i) {
      double sum = matrix[i][j];
      for (int k = 0; k < j; ++k) sum -= matrix[i][k] * matrix[j][k];
      matrix[i][j] = sum / matrix[j][j];
    }
  }
  return true;
}

void solve_lower(const SmallMatrix& lower, int n, std::span<double> x) {
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < i; ++k) x[i] -= lower[i][k] * x[k];
    x[i] /= lower[i][i];
  }
}

void solve_transposed(const SmallMatrix& lower, int n, std::span<double> x) {
  for (int i = n - 1; i >= 0; --i) {
    for (int k = i + 1; k < n; ++k) x[i] -= lower[k][i] * x[k];
    x[i] /= lower[i][i];
  }
}

std::array<double, kMaxParameters> symmetric_eigenvalues(SmallMatrix a, int n) {
  for (int sweep = 0; sweep < 60; ++sweep) {
    double off = 0.0, diagonal = 0.0;
    for (int i = 0; i < n; ++i) {
      diagonal += a[i][i] * a[i][i];
      for (int j = 0; j < i; ++j) off += a[i][j] * a[i][j];
    }
    if (off <= 1e-32 * diagonal) break;
    for (int p = 0; p < n; ++p) {
      for (int q = p + 1; q < n; ++q) {
        if (a[p][q] == 0.0) continue;
        const double theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
        const double t = std::copysign(1.0, theta) / (std::abs(theta) + std::hypot(theta, 1.0));
        const double c = 1.0 / std::hypot(t, 1.0), s = t * c;
        for (int k = 0; k < n; ++k) {
          const double kp = a[k][p], kq = a[k][q];
          a[k][p] = c * kp - s * kq;
          a[k][q] = s * kp + c * kq;
        }
        for (int k = 0; k < n; ++k) {
          const double pk = a[p][k], qk = a[q][k];
          a[p][k] = c * pk - s * qk;
          a[q][k] = s * pk + c * qk;
        }
      }
    }
  }
  std::array<double, kMaxParameters> values{};
  for (int i = 0; i < n; ++i) {
    int place = i;
    for (; place > 0 && values[place - 1] > a[i][i]; --place) values[place] = values[place - 1];
    values[place] = a[i][i];
  }
  return values;
}

NonNegativeFit non_negative_least_squares(std::span<const std::span<const double>> columns, std::span<const double> y,
                                          std::span<const double> weights) {
  const int count = static_cast<int>(columns.size());
  CHECK_LE(count, 3);
  SmallMatrix gram{};
  std::array<double, 3> right{};
  std::array<double, 3> scale{};
  double total = 0.0;
  for (size_t i = 0; i < y.size(); ++i) {
    total += weights[i] * y[i] * y[i];
    for (int k = 0; k < count; ++k) {
      const double wx = weights[i] * columns[k][i];
      right[k] += wx * y[i];
      for (int l = 0; l <= k; ++l) gram[k][l] += wx * columns[l][i];
    }
  }
  for (int k = 0; k < count; ++k) scale[k] = gram[k][k] > 0.0 ? 1.0 / std::sqrt(gram[k][k]) : 0.0;
  NonNegativeFit best;
  best.squares = total;
  for (int set = 1; set < 1 << count; ++set) {
    std::array<int, 3> chosen{};
    int size = 0;
    for (int k = 0; k < count; ++k) {
      if ((set >> k & 1) != 0) chosen[size++] = k;
    }
    SmallMatrix part{};
    std::array<double, 3> x{};
    for (int i = 0; i < size; ++i) {
      x[i] = right[chosen[i]] * scale[chosen[i]];
      for (int j = 0; j <= i; ++j) part[i][j] = gram[chosen[i]][chosen[j]] * scale[chosen[i]] * scale[chosen[j]];
    }
    const std::array<double, 3> projected = x;
    if (!cholesky(part, size)) continue;
    solve_lower(part, size, x);
    solve_transposed(part, size, x);
    double explained = 0.0;
    bool feasible = true;
    for (int i = 0; i < size; ++i) {
      explained += x[i] * projected[i];
      feasible = feasible && x[i] >= 0.0;
    }
    if (!feasible || !(total - explained < best.squares)) continue;
    best.squares = total - explained;
    best.coefficient = {};
    for (int i = 0; i < size; ++i) best.coefficient[chosen[i]] = x[i] * scale[chosen[i]];
  }
  return best;
}

LinearFit linear_fit(std::span<const std::span<const double>> columns, std::span<const double> y,
                     std::span<const double> weights) {
  const int slopes = static_cast<int>(columns.size());
  CHECK_LT(slopes, kMaxParameters);
  LinearFit fit;
  fit.degrees = static_cast<int>(y.size()) - slopes - 1;
  if (fit.degrees < 0) return fit;
  const auto weight = [&](size_t i) { return weights.empty() ? 1.0 : weights[i]; };
  double total = 0.0, mean_y = 0.0;
  std::array<double, kMaxParameters> mean{};
  for (size_t i = 0; i < y.size(); ++i) {
    total += weight(i);
    mean_y += weight(i) * y[i];
    for (int k = 0; k < slopes; ++k) mean[k] += weight(i) * columns[k][i];
  }
  mean_y /= total;
  for (int k = 0; k < slopes; ++k) mean[k] /= total;
  // On centred columns of unit length, so that the pivots tell dependence.
  SmallMatrix gram{};
  std::array<double, kMaxParameters> right{}, scale{};
  for (int k = 0; k < slopes; ++k) {
    for (size_t i = 0; i < y.size(); ++i) scale[k] += weight(i) * (columns[k][i] - mean[k]) * (columns[k][i] - mean[k]);
    const double spread = scale[k] / total;
    if (!(spread > 1e-20 * (mean[k] * mean[k] + 1e-300))) return fit;
    scale[k] = 1.0 / std::sqrt(scale[k]);
  }
  for (size_t i = 0; i < y.size(); ++i) {
    for (int k = 0; k < slopes; ++k) {
      const double wx = weight(i) * (columns[k][i] - mean[k]) * scale[k];
      right[k] += wx * (y[i] - mean_y);
      for (int l = 0; l <= k; ++l) gram[k][l] += wx * (columns[l][i] - mean[l]) * scale[l];
    }
  }
  SmallMatrix lower = gram;
  if (!cholesky(lower, slopes)) return fit;
  for (int k = 0; k < slopes; ++k) {
    if (lower[k][k] < 1e-6) return fit;
  }
  std::array<double, kMaxParameters> x = right;
  solve_lower(lower, slopes, x);
  solve_transposed(lower, slopes, x);
  fit.coefficient[0] = mean_y;
  for (int k = 0; k < slopes; ++k) {
    fit.coefficient[k + 1] = x[k] * scale[k];
    fit.coefficient[0] -= fit.coefficient[k + 1] * mean[k];
  }
  for (size_t i = 0; i < y.size(); ++i) {
    double residual = y[i] - mean_y;
    for (int k = 0; k < slopes; ++k) residual -= x[k] * scale[k] * (columns[k][i] - mean[k]);
    fit.squares += weight(i) * residual * residual;
  }
  fit.determined = true;
  const double variance = fit.degrees > 0 ? fit.squares / fit.degrees : HUGE_VAL;
  // Rows of the inverse of the centred Gram matrix; the constant's variance follows from the means.
  std::vector<std::array<double, kMaxParameters>> inverse(static_cast<size_t>(slopes));
  double at_zero = 1.0 / total;
  for (int k = 0; k < slopes; ++k) {
    std::array<double, kMaxParameters> unit{};
    unit[k] = 1.0;
    solve_lower(lower, slopes, unit);
    solve_transposed(lower, slopes, unit);
    inverse[static_cast<size_t>(k)] = unit;
    fit.standard_error[k + 1] = std::sqrt(variance * unit[k]) * scale[k];
  }
  for (int k = 0; k < slopes; ++k) {
    for (int l = 0; l < slopes; ++l)
      at_zero += mean[k] * scale[k] * inverse[static_cast<size_t>(k)][l] * mean[l] * scale[l];
  }
  fit.standard_error[0] = std::sqrt(variance * at_zero);
  return fit;
}

}  // namespace tsugi
