// What is called of OpenMP's runtime: <omp.h> is gcc's own header, and clang (lint, fuzzing) comes without one.
#pragma once

extern "C" {
int omp_get_max_threads() noexcept;
void omp_set_num_threads(int threads) noexcept;
}
