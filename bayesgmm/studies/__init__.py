"""Questions that take several fits."""
