#include <cmath>

#include "ops/norm/norm.h"

namespace tsugi::reference {
namespace {

struct Statistics {
  double mean = 0.0;
  double rstd = 0.0;
};

Statistics statistics_of(std::span<const double> row, double epsilon) {
  const double width = static_cast<double>(row.size());
  Statistics s;
  for (const double value : row) s.mean += value / width;
  double variance = 0.0;
  for (const double value : row) variance += (value - s.mean) * (value - s.mean) / width;
  s.rstd = 1.0 / std::sqrt(variance + epsilon);
  return s;
}

double inverse_root_mean_square(std::span<const double> row, double epsilon) {
  double squares = 0.0;
  for (const double value : row) squares += value * value / static_cast<double>(row.size());
  return 1.0 / std::sqrt(squares + epsilon);
}

}  // namespace

void layer_norm_forward(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> gamma,
                        std::span<const double> beta, double epsilon, std::span<double> normed) {
  const auto columns = static_cast<size_t>(width);
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    const std::span<const double> values = x.subspan(row * columns, columns);
    const Statistics s = statistics_of(values, epsilon);
    for (size_t c = 0; c < columns; ++c) {
      normed[row * columns + c] = (values[c] - s.mean) * s.rstd * gamma[c] + beta[c];
    }
  }
}

void layer_norm_backward(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> gamma,
                         double epsilon, std::span<const double> d_normed, std::span<double> d_x,
                         std::span<double> d_gamma, std::span<double> d_beta) {
  const auto columns = static_cast<size_t>(width);
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    const std::span<const double> values = x.subspan(row * columns, columns);
    const std::span<const double> d = d_normed.subspan(row * columns, columns);
    const Statistics s = statistics_of(values, epsilon);
    double average = 0.0;
    double product_average = 0.0;
    for (size_t c = 0; c < columns; ++c) {
      const double hat = (values[c] - s.mean) * s.rstd;
      average += d[c] * gamma[c] / static_cast<double>(width);
      product_average += d[c] * gamma[c] * hat / static_cast<double>(width);
      d_gamma[c] += d[c] * hat;
      d_beta[c] += d[c];
    }
    for (size_t c = 0; c < columns; ++c) {
      const double hat = (values[c] - s.mean) * s.rstd;
      d_x[row * columns + c] = s.rstd * (d[c] * gamma[c] - average - hat * product_average);
    }
  }
}

void rms_norm_forward(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> gamma,
                      double epsilon, std::span<double> normed) {
  const auto columns = static_cast<size_t>(width);
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    const double rstd = inverse_root_mean_square(x.subspan(row * columns, columns), epsilon);
    for (size_t c = 0; c < columns; ++c) normed[row * columns + c] = x[row * columns + c] * rstd * gamma[c];
  }
}

void rms_norm_backward(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> gamma,
                       double epsilon, std::span<const double> d_normed, std::span<double> d_x,
                       std::span<double> d_gamma) {
  const auto columns = static_cast<size_t>(width);
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    const std::span<const double> values = x.subspan(row * columns, columns);
    const std::span<const double> d = d_normed.subspan(row * columns, columns);
    const double rstd = inverse_root_mean_square(values, epsilon);
    double product_average = 0.0;
    for (size_t c = 0; c < columns; ++c) {
      product_average += d[c] * gamma[c] * values[c] * rstd / static_cast<double>(width);
      d_gamma[c] += d[c] * values[c] * rstd;
    }
    for (size_t c = 0; c < columns; ++c) {
      d_x[row * columns + c] = rstd * (d[c] * gamma[c] - values[c] * rstd * product_average);
    }
  }
}

}  // namespace tsugi::reference
