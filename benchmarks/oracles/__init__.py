"""Estimates that need no guide: maximum likelihood with z known, and with z integrated out by quadrature."""
