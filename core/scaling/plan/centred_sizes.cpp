#include "core/scaling/plan/centred_sizes.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/config/config.h"
#include "core/scaling/flops.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct RuledShape {
  SizeConfig size;
  double parameters = 0.0;
};

std::string brief(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

bool same_shape(const SizeConfig& a, const SizeConfig& b) {
  return a.layers() == b.layers() && a.heads() == b.heads() && a.width() == b.width() &&
         a.has_mlp_width() == b.has_mlp_width() && a.mlp_width() == b.mlp_width();
}

class SizeRule {
 public:
  SizeRule(const SweepConfig& sweep, const std::string& origin, const RunConfig& base)
      : rule_(sweep.shapes()), origin_(origin), base_(base) {
    if (rule_.width_multiple() % rule_.head_width() != 0) {
      fail("shapes: head_width " + std::to_string(rule_.head_width()) + " does not divide width_multiple " +
           std::to_string(rule_.width_multiple()));
    }
  }

  [[noreturn]] void fail(const std::string& reason, const std::string& hint = {}) const {
    throw Error(ExitCode::kUsage, origin_ + ": " + reason, hint);
  }

  /// All shapes of at most that many parameters, and one beyond, ascending.
  const std::vector<RuledShape>& up_to(double parameters) {
    constexpr int32_t kWidest = 65536;
    while (shapes_.empty() || shapes_.back().parameters <= parameters) {
      const int32_t width = static_cast<int32_t>(shapes_.size() + 1) * rule_.width_multiple();
      if (width > kWidest) break;
      shapes_.push_back(shape(width));
    }
    return shapes_;
  }

 private:
  RuledShape shape(int32_t width) const {
    RuledShape ruled;
    SizeConfig& size = ruled.size;
    size.set_width(width);
    size.set_layers(std::max(1, static_cast<int32_t>(std::lround(width / rule_.aspect()))));
    size.set_heads(width / rule_.head_width());
    if (rule_.mlp_ratio() > 0) size.set_mlp_width(static_cast<int32_t>(std::lround(rule_.mlp_ratio() * width)));
    size.set_name("w" + std::to_string(width) + "l" + std::to_string(size.layers()));
    RunConfig config = base_;
    config.mutable_model()->set_layers(size.layers());
    config.mutable_model()->set_heads(size.heads());
    config.mutable_model()->set_width(size.width());
    if (size.has_mlp_width()) config.mutable_model()->set_mlp_width(size.mlp_width());
    config.mutable_schedule()->set_warmup_steps(0);
    try {
      validate_run(config);
    } catch (const Error& error) {
      fail("shapes: " + size.name() + ": " + error.what(), error.hint());
    }
    ruled.parameters = static_cast<double>(count_parameters(config.model()).in_products);
    return ruled;
  }

  const ShapeRule& rule_;
  const std::string& origin_;
  const RunConfig& base_;
  std::vector<RuledShape> shapes_;
};

/// The shapes nearest to sizes log-spaced around `centre`, each taken once, ascending.
std::vector<SizeConfig> spaced(SizeRule& rule, const BudgetConfig& budget, double centre) {
  const int count = budget.centred_sizes();
  const double half = 0.5 * std::log(budget.spread());
  std::vector<RuledShape> free = rule.up_to(2.0 * centre * std::exp(half));
  std::vector<SizeConfig> sizes;
  for (int i = 0; i < count; ++i) {
    const double share = count == 1 ? 0.0 : 2.0 * i / (count - 1) - 1.0;
    const double wanted = std::log(centre) + share * half;
    const auto distance = [&](const RuledShape& shape) { return std::abs(std::log(shape.parameters) - wanted); };
    const auto nearest = std::ranges::min_element(free, {}, distance);
    if (nearest == free.end() || distance(*nearest) > std::log(2.0)) {
      rule.fail("budget " + brief(budget.flops()) + ": its optimum is " + brief(centre) + " parameters, and no " +
                    (sizes.empty() ? "" : "further ") + "shape of the rule has about " + brief(std::exp(wanted)),
                "make shapes.width_multiple smaller, the spread wider, or centred_sizes fewer");
    }
    sizes.push_back(nearest->size);
    free.erase(nearest);
  }
  return sizes;
}

}  // namespace

void centre_sizes(SweepConfig& sweep, const std::string& origin, const RunConfig& base,
                  const std::function<double(double flops)>& optimal_n, std::vector<std::string>& notes) {
  SizeRule rule(sweep, origin, base);
  for (BudgetConfig& budget : *sweep.mutable_budgets()) {
    if (budget.centred_sizes() == 0) continue;
    if (!budget.sizes().empty()) {
      rule.fail("budget " + brief(budget.flops()) + " has both sizes and centred_sizes", "leave one of them out");
    }
    const double centre = optimal_n(budget.flops());
    notes.push_back("budget " + brief(budget.flops()) + " is centred on N = " + brief(centre));
    for (const SizeConfig& size : spaced(rule, budget, centre)) {
      const auto known = std::ranges::find(sweep.sizes(), size.name(), &SizeConfig::name);
      if (known == sweep.sizes().end()) {
        *sweep.add_sizes() = size;
      } else if (!same_shape(*known, size)) {
        rule.fail("size \"" + size.name() + "\" is another shape than the rule gives that name", "name it otherwise");
      }
      budget.add_sizes(size.name());
    }
    budget.set_centred_sizes(0);
  }
  sweep.clear_first_stage();
}

}  // namespace tsugi
