from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.generic import FormView

from django_verigator.decorators import verified_required

from .forms import SignUpForm

MENU = [("Espresso", "2.20"), ("Flat white", "3.40"), ("Cinnamon bun", "3.10"), ("Rye sandwich", "6.50")]


def menu(request: HttpRequest) -> HttpResponse:
    """Everybody may see this."""
    return render(request, "cafe/menu.html", {"menu": MENU})


@verified_required
def orders(request: HttpRequest) -> HttpResponse:
    """Only for customers who are logged in, PIN included where they owe one."""
    return render(request, "cafe/orders.html", {"orders": MENU[1:3]})


@verified_required(max_age=timedelta(minutes=5))
def card(request: HttpRequest) -> HttpResponse:
    """Worth a fresh PIN: whoever gave none within the last five minutes is asked for one."""
    return render(request, "cafe/card.html")


class SignUpView(FormView):
    template_name = "cafe/signup.html"
    form_class = SignUpForm

    def form_valid(self, form: Any) -> HttpResponse:
        # The usual code of a sign-up page. The middleware sees that a PIN is owed, and asks for it first.
        login(self.request, form.save())
        return redirect("orders")
