#include "launch/report/ticks.h"

#include <cmath>
#include <cstdio>

namespace tsugi {
namespace {

std::vector<double> linear_ticks(double low, double high, int most) {
  const double rough = (high - low) / most;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10.0 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  for (double i = std::ceil(low / step); i * step <= high * (1.0 + 1e-12); ++i) ticks.push_back(i * step);
  return ticks;
}

std::string plain_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", std::abs(value) < 1e-12 ? 0.0 : value);
  return text;
}

}  // namespace

std::string count_text(double value) {
  static constexpr struct {
    double unit;
    const char* suffix;
  } kUnits[] = {{1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e3, " k"}};
  char text[32];
  for (const auto& [unit, suffix] : kUnits) {
    if (value < 0.9995 * unit) continue;
    std::snprintf(text, sizeof text, "%.3g%s", value / unit, suffix);
    return text;
  }
  return plain_text(value);
}

std::string scientific_text(double value) {
  static constexpr const char* kDigits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  if (!(value > 0.0) || !std::isfinite(value)) return plain_text(value);
  int exponent = static_cast<int>(std::floor(std::log10(value)));
  double mantissa = value / std::pow(10.0, exponent);
  if (mantissa >= 9.995) {
    mantissa = 1.0;
    ++exponent;
  }
  std::string text = std::abs(mantissa - 1.0) < 0.005 ? "10" : plain_text(std::round(100.0 * mantissa) / 100.0) + "×10";
  if (exponent < 0) text += "⁻";
  for (const char digit : std::to_string(std::abs(exponent))) text += kDigits[digit - '0'];
  return text;
}

std::vector<double> axis_ticks(const Axis& axis, double low, double high, int most) {
  if (!axis.log || high / low < 3.0) return linear_ticks(low, high, most);
  const int first = static_cast<int>(std::floor(std::log10(low))), last = static_cast<int>(std::ceil(std::log10(high)));
  const std::vector<double> candidates[] = {{1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 2, 5}, {1, 3}, {1}};
  std::vector<double> ticks;
  for (const std::vector<double>& factors : candidates) {
    ticks.clear();
    for (int decade = first; decade <= last; ++decade) {
      for (const double factor : factors) {
        const double value = factor * std::pow(10.0, decade);
        if (value >= low && value <= high) ticks.push_back(value);
      }
    }
    if (static_cast<int>(ticks.size()) <= most) return ticks;
  }
  const int stride = (static_cast<int>(ticks.size()) + most - 1) / most;
  std::vector<double> sparse;
  for (size_t i = 0; i < ticks.size(); i += static_cast<size_t>(stride)) sparse.push_back(ticks[i]);
  return sparse;
}

std::string tick_text(const Axis& axis, double value) {
  switch (axis.text) {
    case TickText::kCount:
      return count_text(value);
    case TickText::kScientific:
      return scientific_text(value);
    case TickText::kPercent:
      return plain_text(value) + " %";
    case TickText::kPlain:
      break;
  }
  return plain_text(value);
}

}  // namespace tsugi
