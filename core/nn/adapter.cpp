#include "core/nn/adapter.h"

#include <algorithm>
#include <sstream>

namespace tsugi {

bool has_adapter(const AdapterConfig& adapter) { return adapter.rank() > 0 || adapter.bottleneck() > 0; }

void freeze_all_but_adapters(ParameterStore& store, int head_units) {
  store.freeze([=](const ParameterInfo& info) { return !is_adapter(info.name) && info.unit >= head_units; });
}

std::vector<std::string> adapter_targets(const AdapterConfig& adapter) {
  std::vector<std::string> targets;
  std::istringstream list(adapter.targets());
  for (std::string one; std::getline(list, one, ',');) targets.push_back(one);
  return targets;
}

bool is_adapted(const AdapterConfig& adapter, std::string_view name) {
  const std::vector<std::string> targets = adapter_targets(adapter);
  return targets.empty() ||
         std::find(targets.begin(), targets.end(), name.substr(name.rfind('.') + 1)) != targets.end();
}

float adapter_scale(const AdapterConfig& adapter) {
  const auto rank = static_cast<float>(adapter.rank());
  return (adapter.alpha() > 0.0f ? adapter.alpha() : 2.0f * rank) / rank;
}

}  // namespace tsugi
