// ln L and its gradient, law by law: the functions behind all_laws(). `gradient` may be null. Parameters are in the
// order of the table in law.cpp.
#pragma once

#include "core/scaling/laws/law.h"

namespace tsugi {

double chinchilla_log_loss(const double* theta, const RunPoint& point, double* gradient);
double kaplan_log_loss(const double* theta, const RunPoint& point, double* gradient);
double kaplan_irreducible_log_loss(const double* theta, const RunPoint& point, double* gradient);
double data_constrained_log_loss(const double* theta, const RunPoint& point, double* gradient);
double kaplan_steps_log_loss(const double* theta, const RunPoint& point, double* gradient);
double kaplan_n_log_loss(const double* theta, const RunPoint& point, double* gradient);
double kaplan_d_log_loss(const double* theta, const RunPoint& point, double* gradient);
double kaplan_c_log_loss(const double* theta, const RunPoint& point, double* gradient);
double power_n_log_loss(const double* theta, const RunPoint& point, double* gradient);
double power_d_log_loss(const double* theta, const RunPoint& point, double* gradient);
double power_c_log_loss(const double* theta, const RunPoint& point, double* gradient);

}  // namespace tsugi
