#include "core/scaling/laws/law.h"

#include <algorithm>
#include <cmath>

#include "core/config/nearest.h"
#include "core/scaling/laws/forms.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr LawParameter positive(const char* name) { return {name, true}; }
constexpr LawParameter real(const char* name) { return {name, false}; }

constexpr Law kLaws[] = {
    {"chinchilla",
     "E + A/N^alpha + B/D^beta",
     "Hoffmann et al. 2022, eq. 2",
     kInputN | kInputD,
     5,
     {positive("E"), positive("A"), positive("B"), real("alpha"), real("beta")},
     &chinchilla_log_loss},
    {"kaplan",
     "[(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
     "Kaplan et al. 2020, eq. 1.5",
     kInputN | kInputD,
     4,
     {positive("N_c"), positive("D_c"), positive("alpha_N"), positive("alpha_D")},
     &kaplan_log_loss},
    {"kaplan_irreducible",
     "E + [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
     "Kaplan et al. 2020, eq. 1.5, with an irreducible loss",
     kInputN | kInputD,
     5,
     {positive("N_c"), positive("D_c"), positive("alpha_N"), positive("alpha_D"), positive("E")},
     &kaplan_irreducible_log_loss},
    {"data_constrained",
     "E + A/N'^alpha + B/D'^beta, D' = U(1 + R*(1 - exp(-R/R*)))",
     "Muennighoff et al. 2023, section 3",
     kInputN | kInputD | kInputUnique,
     7,
     {positive("E"), positive("A"), positive("B"), positive("alpha"), positive("beta"), positive("R_D"),
      positive("R_N")},
     &data_constrained_log_loss},
    {"kaplan_steps",
     "(N_c/N)^alpha_N + (S_c/S_min)^alpha_S, S_min = S/(1 + B_star/(L^(1/alpha_B) B))",
     "Kaplan et al. 2020, eq. 1.6, 5.3, 5.4",
     kInputN | kInputSteps | kInputBatch,
     6,
     {positive("N_c"), positive("S_c"), positive("alpha_N"), positive("alpha_S"), positive("B_star"),
      positive("alpha_B")},
     &kaplan_steps_log_loss},
    {"kaplan_n",
     "(N_c/N)^alpha_N",
     "Kaplan et al. 2020, eq. 1.1",
     kInputN,
     2,
     {positive("N_c"), positive("alpha_N")},
     &kaplan_n_log_loss},
    {"kaplan_d",
     "(D_c/D)^alpha_D",
     "Kaplan et al. 2020, eq. 1.2",
     kInputD,
     2,
     {positive("D_c"), positive("alpha_D")},
     &kaplan_d_log_loss},
    {"kaplan_c",
     "(C_c/C)^alpha_C",
     "Kaplan et al. 2020, eq. 1.3",
     kInputC,
     2,
     {positive("C_c"), positive("alpha_C")},
     &kaplan_c_log_loss},
    {"power_n",
     "E + A/N^alpha",
     "Henighan et al. 2020, eq. 1.1",
     kInputN,
     3,
     {positive("E"), positive("A"), real("alpha")},
     &power_n_log_loss},
    {"power_d",
     "E + A/D^alpha",
     "Henighan et al. 2020, eq. 1.1",
     kInputD,
     3,
     {positive("E"), positive("A"), real("alpha")},
     &power_d_log_loss},
    {"power_c",
     "E + A/C^alpha",
     "Henighan et al. 2020, eq. 1.1",
     kInputC,
     3,
     {positive("E"), positive("A"), real("alpha")},
     &power_c_log_loss},
};

}  // namespace

int Law::find(std::string_view parameter_name) const {
  for (int i = 0; i < parameters; ++i) {
    if (parameter_name == parameter[static_cast<size_t>(i)].name) return i;
  }
  return -1;
}

double Law::to_public(int index, double theta) const {
  return parameter[static_cast<size_t>(index)].is_log ? std::exp(theta) : theta;
}

double Law::to_working(int index, double value) const {
  const LawParameter& which = parameter[static_cast<size_t>(index)];
  if (!std::isfinite(value) || (which.is_log && value <= 0.0)) {
    throw Error(ExitCode::kUsage, std::string(name) + ": " + which.name + " must be a finite " +
                                      (which.is_log ? "positive number" : "number") + ", not " + std::to_string(value));
  }
  return which.is_log ? std::log(value) : value;
}

std::span<const Law> all_laws() { return kLaws; }

const Law& law_by_name(const std::string& name) {
  std::string wanted = name;
  std::replace(wanted.begin(), wanted.end(), '-', '_');
  if (wanted == "approach3" || wanted == "approach_3") wanted = "chinchilla";
  std::vector<std::string> names;
  for (const Law& law : kLaws) {
    if (wanted == law.name) return law;
    names.emplace_back(law.name);
  }
  const std::string nearest = nearest_name(wanted, names);
  std::string list;
  for (const std::string& one : names) list += (list.empty() ? "" : ", ") + one;
  throw Error(ExitCode::kUsage, "there is no scaling law \"" + name + "\"",
              (nearest.empty() ? "" : "did you mean " + nearest + "? ") + "The laws: " + list);
}

std::string inputs_text(unsigned inputs) {
  static constexpr const char* kNames[] = {"n", "d", "c", "unique", "steps", "batch"};
  std::vector<std::string> present;
  for (unsigned bit = 0; bit < 6; ++bit) {
    if ((inputs >> bit & 1u) != 0) present.emplace_back(kNames[bit]);
  }
  std::string text;
  for (size_t i = 0; i < present.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == present.size() ? " and " : ", ") + present[i];
  }
  return text;
}

}  // namespace tsugi
