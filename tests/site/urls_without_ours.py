from django.urls import include, path

urlpatterns = [path("plain/", include("django.contrib.auth.urls"))]
