#include "ops/cuda/product_table.h"

#include <glog/logging.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "ops/base/error.h"

namespace tsugi::cuda {
namespace {

constexpr const char* kTitle = "tsugi products 1";
constexpr const char* kDeviceWord = "device ";
constexpr int kMostSuggestions = 16;
constexpr double kWorthOtherBits = 1.02;
constexpr size_t kMostTableBytes = size_t{4} << 20;

using Choices = std::map<ProductShape, ProductAlgorithm>;
using Tables = std::map<std::string, Choices>;  // by device

std::string form_of(const ProductShape& s) {
  std::string form{s.transpose_a ? 't' : 'n', s.transpose_b ? 't' : 'n'};
  if (s.bias) form += "+bias";
  if (s.gelu) form += "+gelu";
  if (s.gelu_backward) form += "+gelu_backward";
  if (s.accumulate) form += "+accumulate";
  return form;
}

std::string hexadecimal(const ProductAlgorithm& algorithm) {
  std::string text;
  for (const uint64_t word : algorithm) {
    for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
  }
  return text;
}

std::string text_of(const Tables& tables) {
  std::ostringstream text;
  text << kTitle << '\n';
  for (const auto& [device, choices] : tables) {
    text << kDeviceWord << device << '\n';
    for (const auto& [s, algorithm] : choices) {
      text << s.m << ' ' << s.n << ' ' << s.k << ' ' << name_of(s.type) << ' ' << name_of(s.out_type) << ' '
           << form_of(s) << ' ' << hexadecimal(algorithm) << '\n';
    }
  }
  return text.str();
}

/// One line of a table; throws std::string, what is wrong with it.
std::pair<ProductShape, ProductAlgorithm> parse_choice(const std::string& line) {
  std::istringstream words(line);
  std::string sizes[3], types[2], form, digits, rest;
  words >> sizes[0] >> sizes[1] >> sizes[2] >> types[0] >> types[1] >> form >> digits;
  if (!words || words >> rest) throw std::string("a choice has 7 words: m n k, two types, form, algorithm");
  ProductShape s;
  int64_t* const extents[] = {&s.m, &s.n, &s.k};
  for (int i = 0; i < 3; ++i) {
    const char* const end = sizes[i].data() + sizes[i].size();
    const auto [stop, error] = std::from_chars(sizes[i].data(), end, *extents[i]);
    if (error != std::errc() || stop != end || *extents[i] < 1) throw "no size: " + sizes[i];
  }
  DType* const places[] = {&s.type, &s.out_type};
  for (int i = 0; i < 2; ++i) {
    if (types[i] != name_of(DType::kBF16) && types[i] != name_of(DType::kF32)) throw "no type of products: " + types[i];
    *places[i] = types[i] == name_of(DType::kBF16) ? DType::kBF16 : DType::kF32;
  }
  s.transpose_a = form[0] == 't';
  s.transpose_b = form.size() > 1 && form[1] == 't';
  s.bias = form.find("+bias") != std::string::npos;
  s.gelu_backward = form.find("+gelu_backward") != std::string::npos;
  s.gelu = !s.gelu_backward && form.find("+gelu") != std::string::npos;
  s.accumulate = form.find("+accumulate") != std::string::npos;
  if (form_of(s) != form) throw "no form of products: " + form;
  ProductAlgorithm algorithm{};
  constexpr size_t kDigits = 2 * sizeof(uint64_t);
  if (digits.size() != kDigits * algorithm.size()) throw std::string("an algorithm has 128 hexadecimal digits");
  for (size_t i = 0; i < algorithm.size(); ++i) {
    const char* const begin = digits.data() + i * kDigits;
    const auto [stop, error] = std::from_chars(begin, begin + kDigits, algorithm[i], 16);
    if (error != std::errc() || stop != begin + kDigits) throw std::string("an algorithm has 128 hexadecimal digits");
  }
  return {s, algorithm};
}

Tables parse(const std::string& text, const std::string& origin) {
  Tables tables;
  if (text.empty()) return tables;
  const auto fail = [&](int64_t line, const std::string& why) {
    throw Error(ExitCode::kData, origin + ":" + std::to_string(line) + ": " + why,
                "it is a table of the products' algorithms; without it they are timed again, and bits may differ");
  };
  if (text.size() > kMostTableBytes) fail(1, "more than 4 MiB are no table of products");
  std::istringstream lines(text);
  std::string line;
  Choices* choices = nullptr;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    if (number == 1) {
      if (line != kTitle) fail(number, std::string("begins with something else than \"") + kTitle + "\"");
    } else if (line.starts_with(kDeviceWord)) {
      choices = &tables[line.substr(std::string(kDeviceWord).size())];
    } else if (choices == nullptr) {
      fail(number, "a choice before the first device");
    } else {
      try {
        if (!choices->insert(parse_choice(line)).second) fail(number, "a second choice for the same product");
      } catch (const std::string& why) {
        fail(number, why);
      }
    }
  }
  return tables;
}

}  // namespace

ProductShape shape_of(const Gemm& p) {
  return {.m = p.m,
          .n = p.n,
          .k = p.k,
          .type = p.type,
          .out_type = p.out_type,
          .transpose_a = p.transpose_a,
          .transpose_b = p.transpose_b,
          .accumulate = p.accumulate,
          .bias = p.bias != nullptr,
          .gelu = p.pre_activation != nullptr,
          .gelu_backward = p.gelu_backward != nullptr};
}

size_t choose_algorithm(std::span<const double> seconds) {
  CHECK(!seconds.empty());
  const double shortest = *std::min_element(seconds.begin(), seconds.end());
  return static_cast<size_t>(
      std::find_if(seconds.begin(), seconds.end(), [&](double one) { return one <= kWorthOtherBits * shortest; }) -
      seconds.begin());
}

const ProductAlgorithm* ProductTable::find(const ProductShape& shape) const {
  const auto found = chosen_.find(shape);
  return found == chosen_.end() ? nullptr : &found->second;
}

std::string ProductTable::choose(const std::string& device, const std::string& table, const std::string& origin,
                                 const ProductTimes& times) {
  Tables tables = parse(table, origin);
  Choices& known = tables[device];
  chosen_.clear();
  for (const ProductShape& shape : met_) {
    const auto found = known.find(shape);
    if (found != known.end() && is_usable(shape, found->second)) {
      chosen_[shape] = found->second;
      continue;
    }
    const std::vector<ProductAlgorithm> algorithms = product_algorithms(shape, kMostSuggestions);
    const std::vector<double> seconds = times(shape, algorithms);
    CHECK_EQ(seconds.size(), algorithms.size());
    known[shape] = chosen_[shape] = algorithms[choose_algorithm(seconds)];
  }
  met_.clear();
  return text_of(tables);
}

}  // namespace tsugi::cuda
