#!/usr/bin/env python3
"""Fits the sweeps in this folder with scipy, independently of the program, and writes scaling_fits.json.

Needs numpy and scipy. The tables (see README.md) stay as they are; `make_scaling.py --extract FOLDER` makes them from
the files named there."""
import csv
import json
import os
import sys

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

HERE = os.path.dirname(os.path.abspath(__file__))


def extract(folder):
    def copy(source, target, columns, keep=lambda row: True):
        with open(os.path.join(folder, source), encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if keep(row)]
        with open(os.path.join(HERE, target), "w", encoding="utf-8") as file:
            file.write(",".join(columns.values()) + "\n")
            for row in rows:
                file.write(",".join(row[name] for name in columns) + "\n")

    copy("kyo_takano/df.csv", "chinchilla_points.csv", {"C": "c", "N": "n", "D": "d", "loss": "loss"})
    copy("olmo_ladder/olmo_ladder_final.csv", "olmo_ladder.csv",
         {"run": "name", "model": "model", "N_nonemb": "n", "D": "d", "c4_mean_last5": "loss"})
    copy("datablations/datablations_fit_subset.csv", "datablations.csv",
         {"params": "n", "tokens": "d", "unique_tokens": "unique", "val_loss": "loss"})


def table(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return np.array([float(row[name]) for row in rows])


def huber(residual, delta=1e-3):
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta)).sum()


def chinchilla(theta, n, d):
    e, a, b, alpha, beta = theta
    return logsumexp(np.stack([np.full_like(n, e), a - alpha * np.log(n), b - beta * np.log(d)]), axis=0)


def kaplan_irreducible(theta, n, d):
    log_nc, log_dc, log_an, log_ad, e = theta
    alpha_d, ratio = np.exp(log_ad), np.exp(log_an - log_ad)
    inner = np.logaddexp(ratio * (log_nc - np.log(n)), log_dc - np.log(d))
    return np.logaddexp(alpha_d * inner, e)


def data_constrained(theta, n, d, unique, a=6.255414, b=7.3049974, e=0.6254804, alpha=0.3526596):
    """The authors' fit (Muennighoff et al. 2023): everything but R_D and R_N is fixed, alpha = beta."""
    r_d, r_n = np.exp(theta)
    u_d = np.minimum(d, unique)
    g = np.exp((a - b) / (2 * alpha))
    u_n = np.minimum(n, u_d * g * g)
    d_effective = u_d + u_d * r_d * (1 - np.exp(-(d / u_d - 1) / r_d))
    n_effective = u_n + u_n * r_n * (1 - np.exp(-(n / u_n - 1) / r_n))
    return np.log(np.exp(e) + np.exp(a) / n_effective**alpha + np.exp(b) / d_effective**alpha)


def best_fit(law, loss, starts):
    """BFGS with numerical gradients, then simplexes until they stay: another way than the program's."""
    log_loss = np.log(loss)

    def scaled(theta):
        return 1e3 * huber(law(theta) - log_loss)

    best = None
    for start in starts:
        result = minimize(scaled, start, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000})
        if best is None or result.fun < best.fun:
            best = result
    for _ in range(6):
        best = minimize(scaled, best.x, method="Nelder-Mead",
                        options={"maxiter": 4000, "maxfev": 4000, "xatol": 1e-11, "fatol": 1e-15})
    return best.x, best.fun / 1e3


def chinchilla_starts():
    return [[e, a, b, alpha, beta] for e in (-0.3, 0.5) for a, alpha in ((3, 0.1), (6, 0.35), (8, 0.5))
            for b, beta in ((4, 0.15), (7, 0.35))]


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--extract":
        extract(sys.argv[2])
    golden = {}

    rows = table("chinchilla_points.csv")
    n, d, loss = column(rows, "n"), column(rows, "d"), column(rows, "loss")
    theta, objective = best_fit(lambda t: chinchilla(t, n, d), loss, chinchilla_starts())
    golden["chinchilla_points"] = {"form": "chinchilla", "objective": objective, "parameters": dict(
        E=np.exp(theta[0]), A=np.exp(theta[1]), B=np.exp(theta[2]), alpha=theta[3], beta=theta[4])}
    theta, objective = best_fit(lambda t: kaplan_irreducible(t, n, d), loss,
                                [[20, 23, np.log(an), np.log(ad), 0.4] for an in (0.1, 0.3) for ad in (0.1, 0.3)])
    golden["chinchilla_points_kaplan_irreducible"] = {
        "form": "kaplan_irreducible", "objective": objective, "parameters": dict(
            N_c=np.exp(theta[0]), D_c=np.exp(theta[1]), alpha_N=np.exp(theta[2]), alpha_D=np.exp(theta[3]),
            E=np.exp(theta[4]))}

    rows = table("olmo_ladder.csv")
    ladder = [row for row in rows if row["model"] in ("190M", "370M", "760M", "1B")
              and not row["name"].endswith("rerun") and not row["name"].endswith("0.5xC")]
    assert len(ladder) == 16
    n, d, loss = column(ladder, "n"), column(ladder, "d"), column(ladder, "loss")
    theta, objective = best_fit(lambda t: chinchilla(t, n, d), loss, chinchilla_starts())
    target = [row for row in rows if row["name"] == "peteish13_eval_final"]
    golden["olmo_ladder"] = {
        "form": "chinchilla", "objective": objective,
        "prediction_13B_5T": float(np.exp(chinchilla(theta, column(target, "n"), column(target, "d")))[0]),
        "published_prediction_13B_5T": 2.3443873053175697}

    rows = table("datablations.csv")
    n, d, unique, loss = (column(rows, name) for name in ("n", "d", "unique", "loss"))
    theta, objective = best_fit(lambda t: data_constrained(t, n, d, unique), loss,
                                [[r_d, r_n] for r_d in (0, 2, 3, 5) for r_n in (0, 1, 2)])
    predicted = np.exp(data_constrained(np.log([15.387756, 5.309743]), n, d, unique))
    golden["datablations"] = {
        "form": "data_constrained", "objective": objective, "R_D": np.exp(theta[0]), "R_N": np.exp(theta[1]),
        "objective_of_published": huber(np.log(predicted) - np.log(loss)),
        "r_squared_of_published": float(1 - ((predicted - loss)**2).sum() / ((loss - loss.mean())**2).sum())}

    with open(os.path.join(HERE, "scaling_fits.json"), "w", encoding="utf-8") as file:
        json.dump(golden, file, indent=1)
        file.write("\n")
    print(json.dumps(golden, indent=1))


if __name__ == "__main__":
    main()
