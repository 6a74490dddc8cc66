"""The maths: schedules, prediction types, weightings, densities, perturbations, recipes."""
