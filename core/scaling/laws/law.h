// Scaling laws as functions of working parameters, each with its analytic gradient.
//
// A law predicts ln L of a run. Its working parameters θ are unbounded: a public parameter that must be positive (A, B,
// E, Nc, …) is exp(θ). Sums of power laws are log-sum-exp of linear forms in (ln N, ln D, …), so that nothing overflows
// and the optimizer meets no cliffs (Hoffmann et al. 2022, "Training compute-optimal large language models", §D.3).
#pragma once

#include <array>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

/// Natural logarithms of what is known of one run; NaN where it is not known.
struct RunPoint {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  double log_n = kUnknown;       ///< parameters
  double log_d = kUnknown;       ///< training tokens, repetitions counted
  double log_c = kUnknown;       ///< training FLOPs
  double log_unique = kUnknown;  ///< distinct tokens
  double log_steps = kUnknown;   ///< optimizer steps
  double log_batch = kUnknown;   ///< tokens per step
  double log_loss = kUnknown;    ///< ln L as measured (kaplan_steps needs it for the critical batch)
};

/// Columns of a run table, as bits of Law::inputs.
enum RunInput : unsigned {
  kInputN = 1,
  kInputD = 2,
  kInputC = 4,
  kInputUnique = 8,
  kInputSteps = 16,
  kInputBatch = 32,
};

/// The most parameters that a law has.
inline constexpr int kMaxParameters = 8;
using Theta = std::array<double, kMaxParameters>;

struct LawParameter {
  const char* name = "";
  bool is_log = false;  ///< the public value is exp(θ)
};

struct Law {
  const char* name;
  const char* formula;
  const char* source;
  unsigned inputs;
  int parameters;
  std::array<LawParameter, kMaxParameters> parameter;
  /// ln L at `point`; the gradient by θ, if asked for, is written to gradient[0 … parameters).
  double (*log_loss)(const double* theta, const RunPoint& point, double* gradient);

  /// Index of a parameter by its public name, or -1.
  int find(std::string_view parameter_name) const;
  double to_public(int index, double theta) const;
  /// The working value; Error(kUsage) when a positive parameter is given a value that is not.
  double to_working(int index, double value) const;
};

/// All laws, in the order in which tables show them:
///
/// | name               | L =                                    | source                                         |
/// |--------------------|----------------------------------------|------------------------------------------------|
/// | chinchilla         | E + A/N^alpha + B/D^beta               | Hoffmann et al. 2022, eq. 2 (approach 3)       |
/// | kaplan             | [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D | Kaplan et al. 2020, eq. 1.5               |
/// | kaplan_irreducible | E + kaplan                             | Kaplan's coupling with Hoffmann's entropy      |
/// | data_constrained   | E + A/N'^alpha + B/D'^beta             | Muennighoff et al. 2023, section 3             |
/// | kaplan_steps       | (N_c/N)^alpha_N + (S_c/S_min)^alpha_S, S_min = S/(1 + B_crit/B), B_crit =
/// B_star/L^(1/alpha_B) | |                    |                                        | Kaplan et al. 2020,
/// eq. 1.6, 5.3 and 5.4       | | kaplan_n, _d, _c   | (X_c/X)^alpha_X                        | Kaplan et al. 2020,
/// eq. 1.1 to 1.3             | | power_n, _d, _c    | E + A/X^alpha                          | Henighan et al. 2020,
/// eq. 1.1                  |
std::span<const Law> all_laws();

/// The law of that name ("approach3" is chinchilla; - and _ are the same), or Error(kUsage) with the nearest name.
const Law& law_by_name(const std::string& name);

/// "n and d", for messages.
std::string inputs_text(unsigned inputs);

/// ln of the compute-optimal N for `unique` tokens, the bound on useful parameters of the data-constrained law:
/// N* = G·(G·U)^(beta/alpha), G = (alpha·A/(beta·B))^(1/(alpha+beta)).
double log_optimal_parameters(double log_a, double log_b, double alpha, double beta, double log_unique);

}  // namespace tsugi
